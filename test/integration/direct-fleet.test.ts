import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import {
  call,
  callPath,
  complete,
  createMultipart,
  type FormAnswer,
  PART_BYTES,
  postForm,
  putPart,
  recordOf,
  sendPart,
  sendParts,
} from '../support/direct.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* Direct uploads whose calls meet two processes over one bucket and one Redis. */

let redis: RedisServer;
let bucket: TestBucket;
let here: RunningServer;
let there: RunningServer;
let env: Record<string, string>;

beforeAll(async () => {
  const s3 = inject('s3');
  redis = await startRedis({ hasRunForLong: true });
  bucket = openTestBucket(s3);
  // One that forgot everything is distrusted for the time to live of a lock.
  env = { ...s3Environment(s3, bucket), LANDFALL_REDIS_URL: redis.url, LANDFALL_LOCK_TTL: '2s' };
  [here, there] = await Promise.all([startServer({ env }), startServer({ env })]);
});
afterAll(async () => {
  await here?.stop();
  await there?.stop();
  await bucket?.close();
  await redis?.stop();
});

const content = randomBytes(2 * PART_BYTES + 77);

async function expectStored(id: string): Promise<void> {
  await expect.poll(async () => (await recordOf(there, id)).state, { timeout: 10_000 }).toBe('ready');
  expect((await request('GET', `${there.filesUrl}/${id}`)).body.equals(content)).toBe(true);
}

it('each call may meet another process', async () => {
  const upload = await createMultipart(here);
  const parts = [];
  for (const [index, server] of [there, here, there].entries()) {
    const bytes = content.subarray(index * PART_BYTES, (index + 1) * PART_BYTES);
    parts.push({ PartNumber: index + 1, ETag: await sendPart(server, upload, index + 1, bytes) });
  }
  expect((await complete(there, upload, parts)).status).toBe(200);
  await expectStored(upload.id);
  expect((await complete(here, upload, parts)).body).toMatchObject({ size: content.length });
});

it('it is completed once, though both are asked at the same time', async () => {
  const upload = await createMultipart(here);
  const parts = await sendParts(here, upload, content);
  const answers = await Promise.all(
    [here, there, here, there].map((server) => complete(server, upload, parts)),
  );
  expect(answers.map(({ status, body }) => [status, body.id, body.size])).toEqual(
    Array.from({ length: 4 }, () => [200, upload.id, content.length]),
  );
  await expectStored(upload.id);
});

it('completed here and aborted there: one of them happens', async () => {
  const upload = await createMultipart(here);
  const parts = await sendParts(here, upload, content);
  const [completed, aborted] = await Promise.all([
    complete(here, upload, parts),
    call(there, 'DELETE', callPath(upload)),
  ]);
  expect([
    [200, 400],
    [410, 200],
  ]).toContainEqual([completed.status, aborted.status]);
  if (completed.status === 200) await expectStored(upload.id);
  else expect(await recordOf(there, upload.id)).toMatchObject({ state: 'aborted' });
});

it('Redis loses everything on the way: the upload goes on', async () => {
  const upload = await createMultipart(here);
  const { url } = (await call<{ url: string }>(there, 'GET', callPath(upload, '/1'))).body;
  await redis.admin.flushall();
  const parts = [{ PartNumber: 1, ETag: await putPart(url, content.subarray(0, PART_BYTES)) }];
  for (const [PartNumber, server] of [
    [2, here],
    [3, there],
  ] as const) {
    const bytes = content.subarray((PartNumber - 1) * PART_BYTES, PartNumber * PART_BYTES);
    parts.push({ PartNumber, ETag: await sendPart(server, upload, PartNumber, bytes) });
  }
  expect((await complete(there, upload, parts)).status).toBe(200);
  await expectStored(upload.id);
});

it('a small file is found by the other process when the one that gave the form is gone', async () => {
  const third = await startServer({ env: { ...env, LANDFALL_SWEEP_INTERVAL: '300ms' } });
  const { body } = await call<FormAnswer>(third, 'GET', '/params?filename=a');
  await third.stop('SIGKILL');
  await postForm(body, content);
  const url = `${here.filesUrl}/${body.id}`;
  expect((await request('GET', url)).body.equals(content)).toBe(true);
  await expectStored(body.id);
});
