import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { describePipeline } from '../contracts/pipeline.ts';
import { startFleet } from '../support/fleet.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { createUpload, patch, request } from '../support/tus.ts';

const s3 = inject('s3');
let redis: RedisServer;
let bucket: TestBucket;

beforeAll(async () => {
  redis = await startRedis({ hasRunForLong: true });
  bucket = openTestBucket(s3);
});
afterAll(async () => {
  await bucket.close();
  await redis.stop();
});

async function keysBelow(prefix: string): Promise<string[]> {
  const { Contents = [] } = await bucket.client.send(
    new ListObjectsV2Command({ Bucket: s3.bucket, Prefix: prefix }),
  );
  return Contents.map(({ Key = '' }) => Key.slice(prefix.length));
}

describePipeline('over S3 and Redis, by a worker of its own', async (env) => {
  const fleet = await startFleet({ s3, redis, env, roles: ['api', 'worker'] });
  return {
    filesUrl: fleet.filesUrl,
    async storedOf(id) {
      return {
        // What tells that it is gone outlives it.
        original: (await keysBelow(fleet.prefix + id)).filter((key) => key !== '.info'),
        previews: await keysBelow(`${fleet.prefix}previews/${id}/`),
      };
    },
    close: () => fleet.close(),
  };
});

test('a worker serves no uploads, and an API server makes no previews', async () => {
  const env = { LANDFALL_LOG_LEVEL: 'info' };
  const fleet = await startFleet({ s3, redis, env, roles: ['api', 'worker'] });
  try {
    const [api, worker] = fleet.servers.map(({ origin }) => origin);
    const statusOf = async (url: string) => (await request('GET', url)).status;
    expect(await statusOf(`${worker}/health/ready`)).toBe(200);
    for (const path of ['/files/x', '/uploads', '/media/x', '/']) {
      expect([path, await statusOf(worker + path)]).toEqual([path, 404]);
    }
    expect(await statusOf(`${api}/uploads`)).toBe(200);

    const picture = await sharp({ create: { width: 9, height: 9, channels: 3, background: '#369' } })
      .png()
      .toBuffer();
    const metadata = { 'Upload-Metadata': `filetype ${btoa('image/png')}` };
    const url = await createUpload(fleet.filesUrl, picture.length, metadata);
    expect((await patch(url, 0, picture)).status).toBe(204);
    const hasStarted = fleet.servers.map(
      (server) => () => server.output().includes('started a process for previews'),
    );
    await until(() => hasStarted[1]?.() === true);
    expect(hasStarted.map((has) => has())).toEqual([false, true]);
  } finally {
    await fleet.close();
  }
});
