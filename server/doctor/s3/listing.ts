import { type Check, type Finding, fail, ok } from '../types.ts';
import { explainS3Failure } from './explain-failure.ts';
import type { S3Probe } from './probe.ts';

const ROUNDS = 6;

/** A listing right after a write has to show it: offsets are computed from what is listed. */
export function listingCheck({ port, prefix }: S3Probe): Check {
  const folder = `${prefix}listing/`;
  const listed = async () => (await port.listObjects({ prefix: folder })).objects.map(({ key }) => key);
  return {
    name: 'listing',
    async run() {
      const stale: string[] = [];
      try {
        for (let round = 1; round <= ROUNDS; round += 1) {
          const key = `${folder}${round}`;
          await port.putObject({ key, body: Buffer.from(String(round)) });
          if (!(await listed()).includes(key)) stale.push('a new object was not listed');
          await port.putObject({ key, body: Buffer.from(`again ${round}`) });
          if ((await port.getObject(key)).body.toString() !== `again ${round}`) {
            stale.push('an object that was written again was read as before');
          }
          if (round % 2 === 1) {
            await port.deleteObject(key);
            if ((await listed()).includes(key)) stale.push('a deleted object was still listed');
          }
        }
        const { multipartId } = await port.createMultipartUpload(`${folder}multipart`, {});
        const { uploads } = await port.listMultipartUploads(`${folder}multipart`);
        if (!uploads.some((upload) => upload.multipartId === multipartId)) {
          stale.push('a new multipart upload was not listed');
        }
      } catch (error) {
        const permission = 's3:ListBucket and s3:ListBucketMultipartUploads';
        return [explainS3Failure(error, { doing: 'Listing what was just written', permission })];
      }
      if (stale.length === 0) return [ok('What was written or deleted is listed so at once.')];
      const finding: Finding = fail(
        `Listings are late: ${[...new Set(stale)].join('; ')} (${stale.length} of ${ROUNDS} rounds). An acknowledged offset could go backwards.`,
        'Use a service with strong consistency; look for a cache in front of it, or a replica that is read from.',
      );
      return [finding];
    },
  };
}
