import http from 'node:http';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { randomBytesOf } from '../faults/random.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { failing, type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/* A process that holds an upload's lock is stopped for longer than the lock lives, and wakes up too late. */

vi.setConfig({ testTimeout: 60_000 });

const MIB = 1024 * 1024;
const SIZE = 12 * MIB + 345;
const content = randomBytesOf('a lock holder that is stopped', SIZE);

let redis: RedisServer;
let s3: S3FaultProxy;
let fleet: Fleet;

beforeAll(async () => {
  [redis, s3] = await Promise.all([
    startRedis({ hasRunForLong: true }),
    startS3FaultProxy(inject('s3').endpoint),
  ]);
  fleet = await startFleet({
    s3: { ...inject('s3'), endpoint: s3.endpoint },
    redis,
  });
});

afterAll(async () => {
  await fleet?.close();
  await Promise.all([s3?.close(), redis?.stop()]);
});

interface SlowPatch {
  send(bytes: Buffer): void;
  end(): void;
  /** Status of the answer; undefined when the connection was cut instead. */
  answered: Promise<number | undefined>;
}

/** A PATCH of everything from offset 0 on, whose body comes when it is told to. */
function startPatch(url: string): SlowPatch {
  const req = http.request(url, {
    method: 'PATCH',
    agent: false,
    headers: { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '0', 'Content-Length': SIZE },
  });
  const answered = new Promise<number | undefined>((resolve) => {
    req.on('response', (res) => {
      res.resume();
      resolve(res.statusCode);
    });
    req.on('error', () => resolve(undefined));
    req.on('close', () => resolve(undefined));
  });
  return { send: (bytes) => void req.write(bytes), end: () => void req.end(), answered };
}

async function headOffset(url: string): Promise<number> {
  let offset: number | undefined;
  await until(async () => {
    const { status, headers } = await head(url);
    expect([200, 423]).toContain(status);
    if (status === 200) offset = Number(headers['upload-offset']);
    return status === 200;
  }, 20_000);
  return offset as number;
}

async function finishAt(index: number, upload: string): Promise<string> {
  const url = fleet.urlAt(index, upload);
  const offset = await headOffset(url);
  expect((await patch(url, offset, content.subarray(offset))).status).toBe(204);
  const original = await request('GET', url);
  expect(original.body.equals(content)).toBe(true);
  return original.headers.etag as string;
}

async function expectUntouched(upload: string, etag: string): Promise<void> {
  for (const index of [0, 1]) {
    const url = fleet.urlAt(index, upload);
    expect(await headOffset(url)).toBe(SIZE);
    const original = await request('GET', url);
    expect(original.headers.etag).toBe(etag);
    expect(original.body.equals(content)).toBe(true);
  }
  expect(timesFinished(upload)).toBe(1);
}

function timesFinished(upload: string): number {
  const id = upload.slice(upload.lastIndexOf('/') + 1);
  const lines = fleet.output().split('\n');
  return lines.filter((line) => line.includes('upload finished') && line.includes(id)).length;
}

test('stopped in the middle of a body and woken after another process finished: the object stays as it is', async () => {
  const upload = await createUpload(fleet.urlAt(0, fleet.filesUrl), SIZE);
  const holder = process.kill.bind(process, fleet.servers[0]?.pid as number);
  const late = startPatch(fleet.urlAt(0, upload));
  late.send(content.subarray(0, 7 * MIB));
  const isPart = ({ operation, key }: { operation: string; key: string }) =>
    operation === 'UploadPart' && upload.endsWith(key.slice(key.lastIndexOf('/')));
  await until(() => s3.calls.some(isPart));

  holder('SIGSTOP');
  // What it finds in its socket when it wakes up.
  late.send(content.subarray(7 * MIB));
  late.end();
  const etag = await finishAt(1, upload);
  const callsBefore = s3.calls.length;
  holder('SIGCONT');

  const status = await late.answered;
  expect(status === undefined || status === 423 || status === 503).toBe(true);
  const lateCalls = s3.calls.slice(callsBefore).map(({ operation }) => operation);
  expect(lateCalls).not.toContain('CompleteMultipartUpload');
  expect(lateCalls).not.toContain('DeleteObject');
  await expectUntouched(upload, etag);
});

test('stopped between its last part and the completion: the object stays as it is', async () => {
  const upload = await createUpload(fleet.urlAt(0, fleet.filesUrl), SIZE);
  const pid = fleet.servers[0]?.pid as number;
  let isStopped = false;
  // The call is on its way when its sender stops, and takes effect a second after the other process has finished.
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const matches = failing(
    ({ operation }) => operation === 'CompleteMultipartUpload',
    { kind: 'late', until: released },
    1,
  );
  s3.fault = (call) => {
    const fault = matches(call);
    if (fault !== undefined) {
      process.kill(pid, 'SIGSTOP');
      isStopped = true;
    }
    return fault;
  };
  const late = startPatch(fleet.urlAt(0, upload));
  late.send(content);
  late.end();
  await until(() => isStopped, 20_000);
  const url = fleet.urlAt(1, upload);
  expect(await headOffset(url)).toBe(SIZE);
  const { body, headers } = await request('GET', url);
  expect(body.equals(content)).toBe(true);
  release();
  await until(() => s3.pending === 0);
  process.kill(pid, 'SIGCONT');

  const status = await late.answered;
  // The object is there and exact: saying so would be no lie.
  expect(status === undefined || [204, 423, 503].includes(status)).toBe(true);
  await expectUntouched(upload, headers.etag as string);
});
