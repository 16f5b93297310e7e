import { createHash, randomBytes } from 'node:crypto';
import { isS3Failure } from '../../../stores/s3/port.ts';
import { type Check, type Finding, fail, ok, warn } from '../types.ts';
import { explainS3Failure } from './explain-failure.ts';
import { type S3Probe, step } from './probe.ts';

/** Smallest part that is not the last one. */
const PART_BYTES = 5 * 1024 * 1024;
const LAST_BYTES = 70_001;
const COPIED_BYTES = 1000;

/** Create, upload, list, copy, complete and abort parts, as uploads do. Sends about 10 MiB. */
export function multipartCheck({ port, prefix }: S3Probe): Check {
  async function completeOne(findings: Finding[]): Promise<void> {
    const key = `${prefix}multipart`;
    const first = randomBytes(PART_BYTES);
    const last = randomBytes(LAST_BYTES);
    const { multipartId } = await port.createMultipartUpload(key, { contentType: 'application/x-landfall' });
    // Twice the same bytes under the same number: that is what a retry does.
    await port.uploadPart(key, multipartId, 1, first);
    await port.uploadPart(key, multipartId, 1, first);
    await port.uploadPart(key, multipartId, 2, last);
    const { parts } = await port.listParts(key, multipartId, 0);
    const sizes = parts.map(({ partNumber, size }) => `${partNumber}:${size}`).join(' ');
    if (sizes !== `1:${PART_BYTES} 2:${LAST_BYTES}`) {
      findings.push(
        fail(
          `ListParts does not show the parts that were just stored (it shows ${sizes || 'none'}).`,
          'Use a service whose ListParts is complete and up to date: offsets are computed from it.',
        ),
      );
      return;
    }
    const after = await port.listParts(key, multipartId, 1);
    if (after.parts.length !== 1 || after.parts[0]?.partNumber !== 2) {
      findings.push(
        fail(
          'ListParts ignores its marker: uploads of more than 1,000 parts could not be continued.',
          'Use a newer version of this service, or another one.',
        ),
      );
    }
    await port.completeMultipartUpload(key, multipartId, parts);
    const { size } = await port.headObject(key);
    const stored = createHash('sha256');
    for await (const chunk of await port.streamObject(key, { start: 0, end: size - 1 })) stored.update(chunk);
    const sent = createHash('sha256').update(first).update(last);
    if (size !== PART_BYTES + LAST_BYTES || stored.digest('hex') !== sent.digest('hex')) {
      findings.push(
        fail(
          'A completed upload is not what its parts were.',
          'Do not use this service; look for a proxy that changes bodies.',
        ),
      );
    }
  }

  async function abortOne(findings: Finding[]): Promise<void> {
    const key = `${prefix}aborted`;
    const { multipartId } = await port.createMultipartUpload(key, {});
    await port.uploadPart(key, multipartId, 1, Buffer.from('to be aborted'));
    await port.abortMultipartUpload(key, multipartId);
    try {
      await port.listParts(key, multipartId, 0);
    } catch (error) {
      if (isS3Failure(error, 'no_such_upload')) return;
      throw error;
    }
    findings.push(
      fail(
        'An aborted multipart upload still answers.',
        'Use a service that says NoSuchUpload: a deleted upload could come back.',
      ),
    );
  }

  async function copyOne(): Promise<Finding[]> {
    const source = `${prefix}copied`;
    const body = randomBytes(3 * COPIED_BYTES);
    const { etag } = await port.putObject({ key: source, body });
    const key = `${prefix}copy`;
    const { multipartId } = await port.createMultipartUpload(key, {});
    const range = { start: COPIED_BYTES, end: 2 * COPIED_BYTES - 1 };
    const without = (why: string) =>
      warn(
        `${why} Concatenating uploads would send their bytes through this server.`,
        'Nothing has to be done for that; a newer version of the service, or its policy, may let parts be copied.',
      );
    try {
      await port.uploadPartCopy(key, multipartId, 1, { key: source, etag, ...range });
    } catch (error) {
      return [without(explainS3Failure(error, { doing: 'Copying a part', permission: 's3:GetObject' }).text)];
    }
    const wrong = { key: source, etag: '"0123456789abcdef0123456789abcdef"', ...range };
    const isIgnored = await port.uploadPartCopy(key, multipartId, 2, wrong).then(
      () => true,
      () => false,
    );
    if (isIgnored) return [without('UploadPartCopy ignores the entity tag of its source.')];
    await port.completeMultipartUpload(key, multipartId, (await port.listParts(key, multipartId, 0)).parts);
    const copied = (await port.getObject(key)).body;
    return copied.equals(body.subarray(range.start, range.end + 1))
      ? []
      : [without('UploadPartCopy copied other bytes than it was told to.')];
  }

  return {
    name: 'multipart',
    async run() {
      const findings: Finding[] = [];
      const permission = 's3:PutObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts';
      await step(findings, { doing: 'A multipart upload', permission }, () => completeOne(findings));
      await step(findings, { doing: 'Aborting a multipart upload', permission }, () => abortOne(findings));
      if (findings.length > 0) return findings;
      const copying = await step(findings, { doing: 'Copying a part', permission }, copyOne);
      findings.push(...(copying ?? []));
      const isAll = findings.length === 0;
      return [
        ok(`Parts are stored, listed, completed and aborted${isAll ? ', and copied' : ''}.`),
        ...findings,
      ];
    },
  };
}
