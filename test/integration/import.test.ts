import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { fleetSettings } from '../support/fleet.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request, TUS } from '../support/tus.ts';

/* The real program: objects that were there before come under the server's roof. */

vi.setConfig({ testTimeout: 60_000 });

const ROOT = join(import.meta.dirname, '../..');
const service = inject('s3');

interface Listed {
  id: string;
  state: string;
  size: number;
  filename: string;
}

function startImport(args: string[], env: Record<string, string>): ChildProcess {
  return spawn(process.execPath, ['server/import/main.ts', ...args], {
    cwd: ROOT,
    // Most of such a short run would be compilation.
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/compile'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function runImport(args: string[], env: Record<string, string>) {
  const child = startImport(args, env);
  let output = '';
  child.stdout?.on('data', (chunk) => (output += chunk));
  child.stderr?.on('data', (chunk) => (output += chunk));
  const [code] = await once(child, 'close');
  return { code, output };
}

async function listAll(server: RunningServer): Promise<Listed[]> {
  const reply = await request('GET', `${server.origin}/uploads?limit=1000`);
  return JSON.parse(reply.body.toString()).uploads;
}

describe('a fleet over a bucket with objects in it', () => {
  const COUNT = 30;
  let redis: RedisServer;
  let bucket: TestBucket;
  let env: Record<string, string>;
  let server: RunningServer;
  const objects = new Map<string, Buffer>();

  beforeAll(async () => {
    redis = await startRedis({ hasRunForLong: true });
    bucket = openTestBucket(service);
    const name = bucket.prefix.replace('/', '');
    env = {
      ...fleetSettings(service, redis, name),
      LANDFALL_SWEEP_INTERVAL: '300ms',
      LANDFALL_LOG_LEVEL: 'warn',
    };
    for (let index = 0; index < COUNT; index += 1) {
      const key = `${bucket.prefix}old/${index % 3}/photo ${index}.txt`;
      const Body = Buffer.from(`the content of ${key}`);
      objects.set(key, Body);
      await bucket.client.send(
        new PutObjectCommand({
          Bucket: service.bucket,
          Key: key,
          Body,
          ContentType: 'text/plain',
        }),
      );
    }
    server = await startServer({ env });
  });
  afterAll(async () => {
    await server?.stop();
    await bucket?.close();
    await redis?.stop();
  });

  it('counts, without writing anything', async () => {
    const before = await bucket.keys();
    const { code, output } = await runImport([`${bucket.prefix}old/`, '--dry-run'], env);
    expect([code, output]).toEqual([0, expect.stringContaining(`${COUNT} would be imported`)]);
    expect((await bucket.keys()).sort()).toEqual(before.sort());
  });

  it('is killed in the middle, again and again, and ends with each object once, served as it is', async () => {
    for (let round = 0; round < 2; round += 1) {
      const child = startImport([`${bucket.prefix}old/`], env);
      const exited = once(child, 'exit');
      // As soon as the next few were taken.
      const infos = async () => (await bucket.keys()).filter((key) => key.endsWith('.info')).length;
      const before = await infos();
      await vi.waitFor(async () => expect(await infos()).toBeGreaterThan(before + 3), {
        timeout: 20_000,
        interval: 5,
      });
      child.kill('SIGKILL');
      await exited;
    }
    const first = await runImport([`${bucket.prefix}old/`], env);
    expect(first.code).toBe(0);
    const second = await runImport([`${bucket.prefix}old/`], env);
    expect(second.output).toBe(`0 imported (0 bytes), ${COUNT} known\n`);

    await vi.waitFor(
      async () =>
        expect((await listAll(server)).map(({ state }) => state)).toEqual(Array(COUNT).fill('ready')),
      { timeout: 20_000 },
    );
    const uploads = await listAll(server);
    expect(new Set(uploads.map(({ id }) => id)).size).toBe(COUNT);
    for (const [key, bytes] of objects) {
      const filename = key.slice(key.lastIndexOf('/') + 1);
      const upload = uploads.find((each) => each.filename === filename);
      expect(upload).toMatchObject({ size: bytes.length, contentType: 'text/plain' });
      const reply = await request('GET', `${server.origin}/media/${upload?.id}`, { Range: 'bytes=4-' });
      expect([reply.status, reply.body.toString()]).toEqual([206, bytes.subarray(4).toString()]);
    }
  });

  it('deletes uploads, and never what was there before', async () => {
    const [first] = await listAll(server);
    if (first === undefined) throw new Error('nothing was imported');
    const reply = await request('DELETE', `${server.filesUrl}/${first.id}`, TUS);
    expect(reply.status).toBe(204);
    expect((await request('GET', `${server.origin}/media/${first.id}`)).status).toBe(410);
    for (const [key, bytes] of objects) {
      const { Body } = await bucket.client.send(new GetObjectCommand({ Bucket: service.bucket, Key: key }));
      expect(await Body?.transformToString()).toBe(bytes.toString());
    }
    const again = await runImport([`${bucket.prefix}old/`], env);
    expect(again.output).toBe(`0 imported (0 bytes), ${COUNT - 1} known, 1 deleted before\n`);
    expect((await request('GET', `${server.origin}/media/${first.id}`)).status).toBe(410);
  });

  it('says so when an owner has removed an object', async () => {
    const upload = (await listAll(server)).find(({ state }) => state === 'ready');
    const [key] = [...objects.keys()].filter((each) => each.endsWith(`/${upload?.filename}`));
    await bucket.client.send(new DeleteObjectCommand({ Bucket: service.bucket, Key: key }));
    const reply = await request('GET', `${server.origin}/media/${upload?.id}`);
    expect([reply.status, JSON.parse(reply.body.toString()).error.code]).toEqual([404, 'upload_not_found']);
  });
});

describe('a directory of files', () => {
  let directory: string;
  let photos: string;
  let dataDir: string;
  let env: Record<string, string>;
  const bytes = randomBytes(200_000);

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'landfall-import-'));
    photos = join(directory, 'photos');
    dataDir = join(directory, 'data');
    await mkdir(join(photos, 'deep'), { recursive: true });
    await writeFile(join(photos, 'deep/a.bin'), bytes);
    env = { LANDFALL_DATA_DIR: dataDir };
  });
  afterAll(() => rm(directory, { recursive: true }));

  it('is served after the next start, and stays when its uploads are deleted', async () => {
    const imported = await runImport([photos], env);
    expect(imported).toEqual({ code: 0, output: '1 imported (200,000 bytes)\n' });
    expect((await runImport([photos], env)).output).toBe('0 imported (0 bytes), 1 known\n');
    const server = await startServer({ dataDir });
    try {
      await vi.waitFor(async () => expect((await listAll(server))[0]?.state).toBe('ready'), {
        timeout: 10_000,
      });
      const [upload] = await listAll(server);
      const reply = await request('GET', `${server.origin}/media/${upload?.id}?mode=download`);
      expect(reply.body.equals(bytes)).toBe(true);
      const busy = await runImport([photos], env);
      expect([busy.code, busy.output]).toEqual([
        1,
        expect.stringContaining('another Landfall server is using'),
      ]);
      await request('DELETE', `${server.filesUrl}/${upload?.id}`, TUS);
    } finally {
      await server.stop();
    }
    expect((await readFile(join(photos, 'deep/a.bin'))).equals(bytes)).toBe(true);
    expect((await runImport([photos], env)).output).toBe('0 imported (0 bytes), 1 deleted before\n');
  });

  it('refuses what it cannot take, and says why', async () => {
    const cases: [string[], string][] = [
      [[directory], 'holds the uploads themselves'],
      [[], 'Usage:'],
      [[photos, '--wrong'], 'Usage:'],
    ];
    for (const [args, message] of cases) {
      const { code, output } = await runImport(args, env);
      expect([code, output]).toEqual([78, expect.stringContaining(message)]);
    }
  });
});
