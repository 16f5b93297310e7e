import { HeadBucketCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { type Check, type Finding, ok } from '../types.ts';
import { type S3Probe, step } from './probe.ts';

/** Is there such a bucket, and do our keys open it? */
export function reachCheck({ client, bucket, prefix }: S3Probe): Check {
  return {
    name: 'reach',
    async run() {
      const findings: Finding[] = [];
      // Listing first: the answer to a HEAD has no body, so S3's reason for a 403 would stay unknown.
      const startedAt = performance.now();
      await step(findings, { doing: 'Listing the bucket', permission: 's3:ListBucket' }, () =>
        client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 })),
      );
      const firstMs = performance.now() - startedAt;
      if (findings.length > 0) return findings;
      const again = performance.now();
      await step(findings, { doing: 'Asking for the bucket (HEAD)', permission: 's3:ListBucket' }, () =>
        client.send(new HeadBucketCommand({ Bucket: bucket })),
      );
      if (findings.length > 0) return findings;
      const times = `${Math.round(firstMs)} ms at first, ${Math.round(performance.now() - again)} ms then`;
      return [ok(`The bucket answers (${times}).`)];
    },
  };
}
