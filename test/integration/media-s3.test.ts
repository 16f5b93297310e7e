import { afterAll, inject } from 'vitest';
import { mediaServingContract } from '../contracts/media-serving.ts';
import { openTestBucket } from '../support/s3-bucket.ts';

const service = inject('s3');
const bucket = openTestBucket(service);
// The SDK finds them there, as it does in production.
process.env.AWS_ACCESS_KEY_ID = service.accessKeyId;
process.env.AWS_SECRET_ACCESS_KEY = service.secretAccessKey;
afterAll(() => bucket.close());

const S3_ENV = {
  LANDFALL_STORE: 's3',
  LANDFALL_S3_BUCKET: service.bucket,
  LANDFALL_S3_ENDPOINT: service.endpoint,
  LANDFALL_S3_PROVIDER: 'ceph',
  LANDFALL_S3_PREFIX: bucket.prefix,
  LANDFALL_S3_PART_SIZE: '5MiB',
};

mediaServingContract('S3', () => S3_ENV);
