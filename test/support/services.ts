import type { TestProject } from 'vitest/node';
import { startCeph } from './ceph.ts';
import { fleetSettings } from './fleet.ts';
import { buildPage } from './page.ts';
import { startRedis } from './redis.ts';
import { startServer } from './server.ts';

/*
 * Vitest's globalSetup: what the integration tests need and no test could afford to start for itself. Tests take
 * it by `inject('s3')` and keep to a random prefix of their own.
 */

export interface S3Service {
  endpoint: string;
  accessKeyId: string;
  secretAccessKey: string;
  bucket: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    s3: S3Service;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Here, and not by each test of a page: two of them would build it at once.
  const [ceph] = await Promise.all([startCeph(), buildPage()]);
  const { endpoint, accessKeyId, secretAccessKey, bucket } = ceph;
  await keepCompiledCode(ceph);
  project.provide('s3', { endpoint, accessKeyId, secretAccessKey, bucket });
  return () => ceph.stop();
}

/** What a process compiled is kept when it ends by itself: of the many that tests kill nothing would ever be kept. */
async function keepCompiledCode(s3: S3Service): Promise<void> {
  const redis = await startRedis();
  try {
    await Promise.all(
      [{}, fleetSettings(s3, redis, 'compiled')].map(async (env) => (await startServer({ env })).stop()),
    );
  } finally {
    await redis.stop();
  }
}
