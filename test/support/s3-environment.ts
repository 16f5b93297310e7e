import type { S3Service } from './services.ts';

/* The environment of servers over the S3 service of the tests, as an operator would set it. */

/** Its bucket and its keys, and nothing else. */
export function s3Access(s3: S3Service): Record<string, string> {
  return {
    LANDFALL_STORE: 's3',
    LANDFALL_S3_BUCKET: s3.bucket,
    LANDFALL_S3_ENDPOINT: s3.endpoint,
    LANDFALL_S3_PROVIDER: 'ceph',
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
  };
}

/** In a corner of the bucket, with the smallest parts that S3 takes. */
export function s3Environment(s3: S3Service, { prefix }: { prefix: string }): Record<string, string> {
  return { ...s3Access(s3), LANDFALL_S3_PREFIX: prefix, LANDFALL_S3_PART_SIZE: '5MiB' };
}

/** For servers in this process: the SDK finds its keys where it does in production. */
export function setKeysOfProcess({ accessKeyId, secretAccessKey }: S3Service): void {
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey });
}
