import { randomBytes } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { UploadOptions, UrlStorage } from 'tus-js-client';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { quietPort } from '../faults/file-topology.ts';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { startRoundRobinProxy } from '../faults/round-robin-proxy.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { startRelay } from '../support/relay.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, patch, request, TUS } from '../support/tus.ts';
import { createClientUpload, FileUrlStorage, startClientUpload } from '../support/tus-js-client.ts';

/* The real tus-js-client with `parallelUploads: 4`, over files and over S3, interrupted in every way. */

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const SIZE = 60_000_003;
const MIB = 1024 * 1024;
const content = randomBytesOf('parallel uploads', SIZE);
const contentSha256 = sha256Hex(content);
const RETRIES = [100, 300, 1000, 1000, 2000, 2000, 3000, 3000];

let directory: string;
let contentPath: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-parallel-'));
  contentPath = join(directory, 'content.bin');
  await writeFile(contentPath, content);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function expectStored(url: string): Promise<void> {
  const reply = await request('GET', url);
  expect(reply.status).toBe(200);
  expect(sha256Hex(reply.body)).toBe(contentSha256);
  const { headers } = await head(url);
  expect([headers['upload-length'], headers['upload-offset']]).toEqual([String(SIZE), String(SIZE)]);
  expect(headers['upload-concat']).toMatch(/^final;\S+ \S+ \S+ \S+$/);
}

/** Resumable by a URL that a page kept: an upload is a path, as it would be in a browser's storage. */
const options = (endpoint: string, more: Partial<UploadOptions> = {}): UploadOptions => ({
  endpoint,
  parallelUploads: 4,
  retryDelays: RETRIES,
  metadata: { filename: 'whole.bin', filetype: 'application/x-whole' },
  ...more,
});

const newUrlStorage = () =>
  new FileUrlStorage(join(directory, `urls-${randomBytes(4).toString('hex')}.json`));

/** Interrupts an upload when about half of it was sent, and goes on with a new client from what was stored. */
async function interruptAndResume(endpoint: string): Promise<{ url: string; resumed: string[] }> {
  const urlStorage = newUrlStorage();
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = startClientUpload(
    createReadStream(contentPath),
    options(endpoint, {
      urlStorage,
      // Each of the four goes in several requests, so that something of each is kept for certain.
      chunkSize: 3 * MIB,
      onProgress: (sent) => {
        if (sent > SIZE / 2) resolve();
      },
    }),
  );
  await Promise.race([promise, first.done]);
  await first.upload.abort();
  return resume(endpoint, urlStorage);
}

/** A new client that knows what a former one kept: goes on with its four uploads, and makes no new ones. */
async function resume(endpoint: string, urlStorage: UrlStorage): Promise<{ url: string; resumed: string[] }> {
  const second = createClientUpload(createReadStream(contentPath), options(endpoint, { urlStorage }));
  const [previous] = await second.upload.findPreviousUploads();
  if (previous === undefined) throw new Error('the upload was not kept');
  second.upload.resumeFromPreviousUpload(previous);
  second.upload.start();
  const url = await second.done;
  const created = second.requests.filter(({ method, header }) => {
    return method === 'POST' && header('Upload-Concat') === 'partial';
  });
  expect(created).toEqual([]);
  return { url, resumed: second.requests.map(({ method }) => method) };
}

describe('files', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server.stop());

  it('arrives exactly, and nothing but the final upload is left', async () => {
    const { done } = startClientUpload(content, options(server.filesUrl));
    const url = await done;
    await expectStored(url);
    const id = url.slice(url.lastIndexOf('/') + 1);
    expect((await readdir(join(server.dataDir, 'uploads'))).sort()).toEqual([id, `${id}.json`].sort());
  });

  it('is resumed where each of the four was', async () => {
    const relay = await startRelay(Number(new URL(server.origin).port), 30_000_000);
    const { url, resumed } = await interruptAndResume(`http://127.0.0.1:${relay.port}/files`);
    await expectStored(url);
    expect(resumed.filter((method) => method === 'HEAD')).toHaveLength(4);
    await relay.close();
  });

  it('survives kill -9 while the four are sent', async () => {
    const port = await quietPort();
    const dataDir = await mkdtemp(join(directory, 'data-'));
    let killed = await startServer({ port, dataDir });
    const relay = await startRelay(port, 30_000_000);
    const { promise: isHalf, resolve } = Promise.withResolvers<void>();
    const { done } = startClientUpload(
      content,
      options(`http://127.0.0.1:${relay.port}/files`, {
        chunkSize: 5 * MIB,
        onProgress: (sent) => {
          if (sent > SIZE / 2) resolve();
        },
      }),
    );
    await isHalf;
    await killed.stop('SIGKILL');
    killed = await startServer({ port, dataDir });
    await expectStored(await done);
    await relay.close();
    await killed.stop();
  });

  it.each([0.35, 0.6, 0.95])('survives kill -9 when %f of the final upload is there', async (part) => {
    const port = await quietPort();
    const dataDir = await mkdtemp(join(directory, 'data-'));
    let killed = await startServer({ port, dataDir });
    const parts = slices(content, 4);
    const urls: string[] = [];
    for (const piece of parts) {
      const url = await createUpload(killed.filesUrl, piece.length, { 'Upload-Concat': 'partial' });
      await patch(url, 0, piece);
      urls.push(url);
    }
    const ask = () =>
      request('POST', killed.filesUrl, { ...TUS, 'Upload-Concat': `final;${urls.join(' ')}` });
    let outcome: number | 'cut' | undefined;
    const asked = ask().then(
      ({ status }) => {
        outcome = status;
      },
      () => {
        outcome = 'cut';
      },
    );
    // The final file is the first partial one's, which grows (and loses this name when it is whole).
    const firstPath = join(dataDir, 'uploads', (urls[0] as string).split('/').at(-1) as string);
    while (outcome === undefined && sizeOf(firstPath) < SIZE * part) await new Promise(setImmediate);
    await Promise.all([asked, killed.stop('SIGKILL')]);
    // The last three megabytes may be there before we have seen it: then the answer itself was the last moment.
    expect(part === 0.95 ? ['cut', 201] : ['cut']).toContain(outcome);
    killed = await startServer({ port, dataDir });
    // All that was acknowledged is still there, under its own address.
    for (const [index, url] of urls.entries()) {
      expect((await head(url)).headers['upload-offset']).toBe(String(parts[index]?.length));
    }
    const reply = await ask();
    expect(reply.status).toBe(201);
    await expectStored(new URL(reply.headers.location as string, killed.filesUrl).href);
    await killed.stop();
  });

  it('is put together by the sweep when its client does not come back', async () => {
    const port = await quietPort();
    const dataDir = await mkdtemp(join(directory, 'data-'));
    let killed = await startServer({ port, dataDir });
    const urls: string[] = [];
    for (const piece of slices(content, 2)) {
      const url = await createUpload(killed.filesUrl, piece.length, { 'Upload-Concat': 'partial' });
      await patch(url, 0, piece);
      urls.push(url);
    }
    const list = `final;${urls.join(' ')}`;
    const asked = request('POST', killed.filesUrl, { ...TUS, 'Upload-Concat': list }).catch(() => {});
    const firstPath = join(dataDir, 'uploads', (urls[0] as string).split('/').at(-1) as string);
    while (sizeOf(firstPath) < SIZE * 0.7) await new Promise(setImmediate);
    await Promise.all([asked, killed.stop('SIGKILL')]);
    killed = await startServer({ port, dataDir, env: { LANDFALL_SWEEP_INTERVAL: '1s' } });
    await expect
      .poll(async () => (await readdir(join(dataDir, 'uploads'))).length, { timeout: 20_000 })
      .toBe(2);
    const id = (await readdir(join(dataDir, 'uploads'))).find((name) => !name.endsWith('.json'));
    const reply = await request('GET', `${killed.filesUrl}/${id}`);
    expect(sha256Hex(reply.body)).toBe(contentSha256);
    await killed.stop();
  });
});

describe('S3 and Redis', () => {
  let redis: RedisServer;
  let proxy: S3FaultProxy;
  let env: Record<string, string>;
  beforeAll(async () => {
    const s3 = inject('s3');
    redis = await startRedis({ hasRunForLong: true });
    proxy = await startS3FaultProxy(s3.endpoint);
    env = {
      ...s3Environment(s3, { prefix: `parallel-${randomBytes(6).toString('hex')}/` }),
      LANDFALL_S3_ENDPOINT: proxy.endpoint,
      LANDFALL_REDIS_URL: redis.url,
      LANDFALL_LOCK_TTL: '2s',
    };
  });
  afterAll(async () => {
    await redis.stop();
    await proxy.close();
  });

  it('arrives exactly through two processes; parts within one partial upload never pass through us', async () => {
    const server = await startServer({ env: { ...env, LANDFALL_PROCESSES: '2' } });
    proxy.calls.length = 0;
    const { done } = startClientUpload(content, options(server.filesUrl));
    await expectStored(await done);
    const copies = proxy.calls.filter(({ headers }) => headers['x-amz-copy-source'] !== undefined);
    // 12 parts, three of which cross from one partial upload to the next.
    expect(copies.map(({ status }) => status)).toEqual(Array.from({ length: 9 }, () => 200));
    expect(copies.every(({ headers }) => headers['x-amz-copy-source-range'] !== undefined)).toBe(true);
    await server.stop();
  });

  it('is resumed where each of the four was, behind a balancer without stickiness', async () => {
    const servers = [await startServer({ env }), await startServer({ env })];
    const balancer = await startRoundRobinProxy(servers.map(({ origin }) => Number(new URL(origin).port)));
    const relay = await startRelay(balancer.port, 30_000_000);
    const { url, resumed } = await interruptAndResume(`http://127.0.0.1:${relay.port}/files`);
    await expectStored(`${servers[0]?.filesUrl}/${url.split('/').at(-1)}`);
    expect(resumed).toContain('HEAD');
    await relay.close();
    await balancer.close();
    for (const server of servers) await server.stop();
  });

  it('survives kill -9 in the middle of the copies: another process goes on, and copies only what is missing', async () => {
    let killed = await startServer({ env });
    const other = await startServer({ env });
    let copies = 0;
    const { promise: isHalf, resolve } = Promise.withResolvers<void>();
    proxy.fault = ({ headers }) => {
      if (headers['x-amz-copy-source'] === undefined) return undefined;
      copies += 1;
      if (copies === 9) resolve();
      // The last of them would be answered after the process is gone.
      return copies < 9 ? undefined : { kind: 'delay', ms: 1000 };
    };
    const port = Number(new URL(killed.origin).port);
    const relay = await startRoundRobinProxy([port]);
    const urlStorage = newUrlStorage();
    const endpoint = `http://127.0.0.1:${relay.port}/files`;
    const client = startClientUpload(createReadStream(contentPath), options(endpoint, { urlStorage }));
    await isHalf;
    await killed.stop('SIGKILL');
    proxy.fault = undefined;
    proxy.calls.length = 0;
    killed = await startServer({ env, port });
    // tus-js-client does not repeat a final request that got no answer: its user does.
    await expect(client.done).rejects.toThrow();
    const { url } = await resume(endpoint, urlStorage);
    const id = url.split('/').at(-1);
    await expectStored(`${killed.filesUrl}/${id}`);
    await expectStored(`${other.filesUrl}/${id}`);
    const again = proxy.calls.filter(({ headers }) => headers['x-amz-copy-source'] !== undefined);
    expect(again.length).toBeLessThan(9);
    await relay.close();
    for (const server of [killed, other]) await server.stop();
  });

  it('survives calls that fail, before or after their effect', async () => {
    const server = await startServer({ env });
    let calls = 0;
    proxy.fault = () => {
      calls += 1;
      if (calls % 9 === 0) return { kind: 'status', status: 503, when: 'before' };
      if (calls % 11 === 0) return { kind: 'status', status: 500, when: 'after' };
      return calls % 17 === 0 ? { kind: 'reset', when: 'after' } : undefined;
    };
    const url = await startClientUpload(content, options(server.filesUrl)).done;
    proxy.fault = undefined;
    await expectStored(url);
    await server.stop();
  });

  it('while a final upload is put together its address and its partial ones are 423', async () => {
    const server = await startServer({ env: { ...env, LANDFALL_LOCK_TIMEOUT: '500ms' } });
    const urls: string[] = [];
    for (const piece of slices(content.subarray(0, 12 * MIB), 2)) {
      const url = await createUpload(server.filesUrl, piece.length, { 'Upload-Concat': 'partial' });
      await patch(url, 0, piece);
      urls.push(url);
    }
    const { promise: isCopying, resolve } = Promise.withResolvers<void>();
    proxy.fault = ({ headers }) => {
      if (headers['x-amz-copy-source'] === undefined) return undefined;
      resolve();
      return { kind: 'delay', ms: 4000 };
    };
    const list = `final;${urls.join(' ')}`;
    const ask = () => request('POST', server.filesUrl, { ...TUS, 'Upload-Concat': list });
    const asked = ask();
    await isCopying;
    for (const reply of [
      await head(urls[0] as string),
      await request('DELETE', urls[1] as string, TUS),
      await ask(),
    ]) {
      expect([reply.status, reply.headers['landfall-error']]).toEqual([423, 'upload_locked']);
      expect(Number(reply.headers['retry-after'])).toBeGreaterThan(0);
    }
    proxy.fault = undefined;
    const first = await asked;
    expect(first.status).toBe(201);
    expect((await ask()).headers.location).toBe(first.headers.location);
    await server.stop();
  });
});

function slices(bytes: Buffer, count: number): Buffer[] {
  const length = Math.floor(bytes.length / count);
  return Array.from({ length: count }, (_, index) =>
    bytes.subarray(index * length, index === count - 1 ? bytes.length : (index + 1) * length),
  );
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
