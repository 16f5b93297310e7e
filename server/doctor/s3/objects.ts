import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { isS3Failure } from '../../../stores/s3/port.ts';
import { type Check, type Finding, fail, ok, warn } from '../types.ts';
import { type S3Probe, step } from './probe.ts';

/** Put, get, head, list and delete, with everything that the configuration adds to a request. */
export function objectsCheck(probe: S3Probe): Check {
  const { port, prefix, client, bucket } = probe;
  return {
    name: 'objects',
    async run() {
      const findings: Finding[] = [];
      const key = `${prefix}object`;
      const body = Buffer.from('Landfall was here. '.repeat(50));
      const attributes = {
        contentType: 'text/x-landfall',
        contentDisposition: 'attachment; filename="doctor.txt"',
        metadata: { 'landfall-doctor': 'caf%C3%A9' },
      };
      const written = await step(findings, { doing: 'Writing an object', permission: 's3:PutObject' }, () =>
        port.putObject({ key, body, attributes }),
      );
      if (written === undefined) return findings;

      const read = { doing: 'Reading an object', permission: 's3:GetObject' };
      const got = await step(findings, read, () => port.getObject(key));
      if (got !== undefined && !got.body.equals(body)) findings.push(changed('a whole object'));
      const range = await step(findings, { ...read, doing: 'Reading a range' }, async () =>
        Buffer.concat(await (await port.streamObject(key, { start: 100, end: 299 })).toArray()),
      );
      if (range !== undefined && !range.equals(body.subarray(100, 300))) findings.push(changed('a range'));
      const head = await step(findings, { ...read, doing: 'Asking for an object (HEAD)' }, () =>
        client.send(new HeadObjectCommand({ Bucket: bucket, Key: key })),
      );
      if (head !== undefined) {
        if (head.ContentLength !== body.length) findings.push(changed('the length of an object'));
        const isKept =
          head.ContentType === attributes.contentType &&
          head.ContentDisposition === attributes.contentDisposition &&
          head.Metadata?.['landfall-doctor'] === attributes.metadata['landfall-doctor'];
        if (!isKept) {
          findings.push(
            warn(
              'The service does not keep the media type, the file name or the metadata of an object.',
              'Nothing is lost: Landfall keeps them itself. Others who read the bucket will not see them.',
            ),
          );
        }
      }
      await step(findings, { doing: 'Deleting an object', permission: 's3:DeleteObject' }, () =>
        port.deleteObject(key),
      );
      await step(findings, { doing: 'Deleting many objects', permission: 's3:DeleteObject' }, async () => {
        const keys = [`${prefix}one`, `${prefix}two`];
        for (const each of keys) await port.putObject({ key: each, body });
        await port.deleteObjects(keys);
      });
      findings.push(...(await expectGone(probe, key)));
      return findings.length > 0
        ? findings
        : [ok('Put, get, range, head, list and delete work, byte for byte.')];
    },
  };
}

/** What was deleted must be gone, and said to be: 404, not 403. */
async function expectGone({ port }: S3Probe, key: string): Promise<Finding[]> {
  try {
    await port.headObject(key);
  } catch (error) {
    if (isS3Failure(error, 'not_found')) return [];
    return [
      fail(
        'The service does not say that an object is missing: without that, no upload can be looked up safely.',
        'Allow s3:ListBucket in the policy of this key: without it S3 answers 403 for what is not there.',
      ),
    ];
  }
  return [
    fail(
      'A deleted object is still there.',
      'Look for a cache in front of the bucket, or a retention rule (Object Lock) on it.',
    ),
  ];
}

function changed(what: string): Finding {
  return fail(
    `The service gave back ${what} that is not what was stored.`,
    'Look for a proxy that changes bodies; try another LANDFALL_S3_PROVIDER (it decides on checksums).',
  );
}
