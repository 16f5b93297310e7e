import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest';
import { randomBytesOf } from '../faults/random.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { type S3Call, type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { createUpload, head, patch, request } from '../support/tus.ts';

/* All bytes are there and the upload is not completed, or nobody comes back for it at all. */

vi.setConfig({ testTimeout: 60_000 });

const MIB = 1024 * 1024;
const content = randomBytesOf('full and not completed', 6 * MIB + 7);

let redis: RedisServer;
let s3: S3FaultProxy;
let fleet: Fleet | undefined;

beforeEach(async () => {
  [redis, s3] = await Promise.all([
    startRedis({ hasRunForLong: true }),
    startS3FaultProxy(inject('s3').endpoint),
  ]);
});

afterEach(async () => {
  await fleet?.close();
  fleet = undefined;
  await Promise.all([s3.close(), redis.stop()]);
});

async function start(processes: number, env: Record<string, string>): Promise<Fleet> {
  fleet = await startFleet({
    s3: { ...inject('s3'), endpoint: s3.endpoint },
    redis,
    processes,
    env,
  });
  return fleet;
}

const isComplete = ({ operation }: Readonly<S3Call>) => operation === 'CompleteMultipartUpload';

/** The last PATCH ends with the death of its process, between the last byte and the completion, which fails from now on. */
async function killBeforeComplete(running: Fleet): Promise<string> {
  const upload = await createUpload(running.urlAt(0, running.filesUrl), content.length);
  let isKilled = false;
  s3.fault = (call) => {
    if (!isComplete(call)) return undefined;
    if (isKilled) return { kind: 'status', status: 500, when: 'before' };
    isKilled = true;
    process.kill(running.servers[0]?.pid as number, 'SIGKILL');
    return { kind: 'reset', when: 'before' };
  };
  await expect(patch(running.urlAt(0, upload), 0, content)).rejects.toThrow();
  expect(isKilled).toBe(true);
  return upload;
}

function timesLogged(running: Fleet, message: string, upload: string): number {
  const id = upload.slice(upload.lastIndexOf('/') + 1);
  const lines = running.output().split('\n');
  return lines.filter((line) => line.includes(message) && line.includes(id)).length;
}

async function stateOf(running: Fleet, index: number, upload: string): Promise<string> {
  const id = upload.slice(upload.lastIndexOf('/') + 1);
  const reply = await request('GET', `${running.servers[index]?.origin}/uploads/${id}`);
  return (JSON.parse(reply.body.toString()) as { state: string }).state;
}

test('killed between the last byte and the completion: HEAD says 423 until that works, then the full length', async () => {
  const running = await start(2, { LANDFALL_SWEEP_INTERVAL: '1h' });
  const upload = await killBeforeComplete(running);
  const url = running.urlAt(1, upload);

  const failedBefore = s3.calls.filter(isComplete).length;
  while (s3.calls.filter(isComplete).length < failedBefore + 2) {
    const { status, headers } = await head(url);
    expect(status).toBe(423);
    expect(headers['upload-offset']).toBeUndefined();
  }
  expect((await request('GET', url)).status).toBe(503);
  s3.fault = undefined;

  const reply = await head(url);
  expect([reply.status, reply.headers['upload-offset']]).toEqual([200, String(content.length)]);
  expect((await request('GET', url)).body.equals(content)).toBe(true);
  await until(async () => (await stateOf(running, 1, upload)) === 'ready');
  expect(timesLogged(running, 'upload finished', upload)).toBe(1);
});

test('the sweep completes it when no client comes back', async () => {
  const running = await start(2, { LANDFALL_SWEEP_INTERVAL: '300ms' });
  const upload = await killBeforeComplete(running);
  s3.fault = undefined;

  await until(async () => (await stateOf(running, 1, upload)) === 'ready', 20_000);
  expect((await request('GET', running.urlAt(1, upload))).body.equals(content)).toBe(true);
  expect(timesLogged(running, 'upload finished', upload)).toBe(1);
});

/** Takes away the claim that makes processes take turns, again and again, until `task` is over. */
async function withoutClaims(task: () => Promise<void>): Promise<void> {
  let isOver = false;
  const losing = (async () => {
    while (!isOver) {
      const claims = await redis.admin.keys('*:claim:*');
      if (claims.length > 0) await redis.admin.del(claims);
      await sleep(20);
    }
  })();
  try {
    await task();
    // Those that come to it later must find that it is done.
    await sleep(500);
  } finally {
    isOver = true;
    await losing;
  }
}

async function untilAll(running: Fleet, uploads: string[], state: string): Promise<void> {
  await until(async () => {
    const states = await Promise.all(uploads.map((url, index) => stateOf(running, index % 3, url)));
    return states.every((found) => found === state);
  }, 20_000);
}

test('three processes that sweep at once finish an upload once', async () => {
  const running = await start(3, { LANDFALL_SWEEP_INTERVAL: '200ms' });
  s3.fault = (call) => (isComplete(call) ? { kind: 'status', status: 500, when: 'before' } : undefined);
  const uploads = await Promise.all(
    Array.from({ length: 4 }, () => createUpload(running.filesUrl, content.length)),
  );
  const answers = await Promise.all(uploads.map((url) => patch(url, 0, content)));
  expect(answers.map(({ status }) => status)).toEqual([503, 503, 503, 503]);

  await withoutClaims(async () => {
    s3.fault = undefined;
    await untilAll(running, uploads, 'ready');
  });
  for (const url of uploads) {
    expect(timesLogged(running, 'upload finished', url)).toBe(1);
    expect((await request('GET', url)).body.equals(content)).toBe(true);
  }
});

test('three processes that sweep at once expire an upload once', async () => {
  const running = await start(3, { LANDFALL_SWEEP_INTERVAL: '200ms', LANDFALL_EXPIRATION: '2s' });
  const uploads = await Promise.all(Array.from({ length: 6 }, () => createUpload(running.filesUrl, 1000)));

  await withoutClaims(() => untilAll(running, uploads, 'expired'));
  for (const url of uploads) {
    expect(timesLogged(running, 'upload expired', url)).toBe(1);
    expect((await head(url)).status).toBe(410);
  }
  expect(running.output()).not.toContain('sweeping an upload failed');
  expect(running.output()).not.toContain('upload is damaged');
});
