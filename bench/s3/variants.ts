import { join } from 'node:path';
import { landfall, reference, type Variant } from '../variants.ts';
import type { S3Target } from './target.ts';

export const STOCK_S3 = 'stock s3-store';
export const LANDFALL_S3 = 'landfall';
export const LANDFALL_S3_REDIS = 'landfall+redis';

/** The servers to measure against one S3 server; the one with Redis only where there is a Redis. */
export function s3Variants(target: S3Target, redisUrl: string | undefined): Variant[] {
  const { endpoint, bucket, accessKeyId, secretAccessKey, caFile } = target;
  const shared = {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    ...(caFile === undefined ? {} : { NODE_EXTRA_CA_CERTS: caFile }),
  };
  const isRadosgw = target.name === 'radosgw';
  const settings = {
    ...shared,
    LANDFALL_STORE: 's3',
    LANDFALL_S3_ENDPOINT: endpoint,
    LANDFALL_S3_BUCKET: bucket,
    // The S3 server counts for whoever is being measured: an idle server's sweep would be counted for another one.
    LANDFALL_SWEEP_INTERVAL: '1d',
    ...(isRadosgw ? { LANDFALL_S3_PROVIDER: 'ceph' } : {}),
  };
  const stock = reference(STOCK_S3, join('bench', 'servers', 'stock-s3.ts'), {
    ...shared,
    BENCH_S3_ENDPOINT: endpoint,
    BENCH_S3_BUCKET: bucket,
    ...(isRadosgw ? { BENCH_S3_CHECKSUMS: 'required' } : {}),
  });
  const variants = [stock, landfall(LANDFALL_S3, { ...settings, LANDFALL_S3_PREFIX: 'alone' })];
  if (redisUrl !== undefined) {
    const withRedis = { ...settings, LANDFALL_S3_PREFIX: 'fleet', LANDFALL_REDIS_URL: redisUrl };
    variants.push(landfall(LANDFALL_S3_REDIS, withRedis));
  }
  return variants;
}
