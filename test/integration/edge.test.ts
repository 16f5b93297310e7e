import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http2 from 'node:http2';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { ListMultipartUploadsCommand, ListPartsCommand } from '@aws-sdk/client-s3';
import * as tus from 'tus-js-client';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { type Edge, startCaddy, startNginx } from '../support/edge.ts';
import { freePort, type RedisServer, startRedis, until } from '../support/redis.ts';
import { startRelay } from '../support/relay.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { type HttpReply, PATCH_TYPE, TUS } from '../support/tus.ts';

/*
 * The proxy configurations of the documentation, in the real proxies, in front of two real processes over one real
 * S3 server and one real Redis. There is no stickiness: what one process has begun, the other goes on with.
 */

const MIB = 1024 * 1024;
const service = inject('s3');

describe.each([
  ['Caddy', startCaddy],
  ['nginx', startNginx],
] as const)('%s, as docs/deploy configures it', { timeout: 60_000 }, (_name, startEdge) => {
  let redis: RedisServer;
  let bucket: TestBucket;
  let edge: Edge;
  let ports: [number, number];
  let servers: RunningServer[] = [];

  beforeAll(async () => {
    bucket = openTestBucket(service);
    redis = await startRedis({ hasRunForLong: true });
    ports = [await freePort(), await freePort()];
    edge = await startEdge(ports);
  });
  beforeEach(async () => {
    // The test before may have ended some, or both: then the proxy may still believe so.
    servers = await Promise.all(
      ports.map((port, index) => {
        const server = servers[index];
        return server?.isRunning() ? server : startProcess(port);
      }),
    );
    await until(async () => (await send('GET', `${edge.origin}/health/live`)).status === 200, 20_000);
  });
  afterAll(async () => {
    for (const server of servers) await server.stop('SIGKILL');
    await bucket?.close();
    await edge?.stop();
    await redis?.stop();
  });

  function startProcess(port: number): Promise<RunningServer> {
    return startServer({
      port,
      env: {
        ...s3Environment(service, bucket),
        LANDFALL_REDIS_URL: redis.url,
        LANDFALL_REDIS_PREFIX: bucket.prefix.replace('/', ''),
        LANDFALL_TRUSTED_PROXIES: 'loopback',
      },
    });
  }

  /** Opens a request through the proxy by HTTP/1.1; its body is the caller's to send. */
  function open(method: string, url: string, headers: Record<string, string | number> = {}) {
    const request = https.request(url, {
      method,
      headers: { ...TUS, ...headers },
      ca: edge.ca,
      agent: false,
      maxHeaderSize: 128 * 1024,
    });
    const reply = new Promise<HttpReply>((resolve, reject) => {
      request.once('error', reject);
      request.once('response', (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('end', () =>
          resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) }),
        );
        res.on('error', reject);
      });
    });
    reply.catch(() => {}); // whoever does not look at it cut the connection
    return { request, reply };
  }

  function send(method: string, url: string, headers: Record<string, string | number> = {}, body?: Buffer) {
    const { request, reply } = open(method, url, {
      ...headers,
      ...(body === undefined ? {} : { 'Content-Length': body.length }),
    });
    request.end(body);
    return reply;
  }

  async function create(size: number): Promise<string> {
    const reply = await send('POST', `${edge.origin}/files`, { 'Upload-Length': size });
    expect(reply.status).toBe(201);
    // Relative, or with the proxy's own name and port: never a process's.
    const url = new URL(reply.headers.location as string, edge.origin);
    expect(url.origin).toBe(edge.origin);
    expect(url.pathname).toMatch(/^\/files\/[\w-]+$/);
    return url.href;
  }

  const patchHeaders = (offset: number) => ({ ...PATCH_TYPE, 'Upload-Offset': offset });

  async function offsetOf(url: string): Promise<number> {
    const { status, headers } = await send('HEAD', url);
    expect(status).toBe(200);
    return Number(headers['upload-offset']);
  }

  /**
   * As clients do: while a process ends, a request can still be on its way to it and fail. Then the offset is asked
   * for again, which never goes back.
   */
  async function goOn(url: string, bytes: Buffer, from: number): Promise<void> {
    const statuses: number[] = [];
    for (let offset = from; statuses.at(-1) !== 204; ) {
      const { status } = await send('PATCH', url, patchHeaders(offset), bytes.subarray(offset));
      statuses.push(status);
      expect([204, 423, 502, 503]).toContain(status);
      if (status === 204) return;
      expect(statuses.length).toBeLessThan(5);
      const next = await offsetOf(url);
      expect(next).toBeGreaterThanOrEqual(offset);
      offset = next;
    }
  }

  async function expectStored(url: string, bytes: Buffer): Promise<void> {
    const { status, body } = await send('GET', url);
    expect(status).toBe(200);
    expect(body.length).toBe(bytes.length);
    expect(sha256(body)).toBe(sha256(bytes));
  }

  /** Sizes of the parts that the S3 server has of an upload that is not finished. */
  async function storedParts(): Promise<number[]> {
    const { Uploads = [] } = await bucket.client.send(
      new ListMultipartUploadsCommand({ Bucket: service.bucket, Prefix: bucket.prefix }),
    );
    const sizes: number[] = [];
    for (const { Key = '', UploadId = '' } of Uploads) {
      const { Parts = [] } = await bucket.client.send(
        new ListPartsCommand({ Bucket: service.bucket, Key, UploadId }),
      );
      sizes.push(...Parts.map(({ Size = 0 }) => Size));
    }
    return sizes;
  }

  /** Bytes that each process has read so far, from sockets and everything else. */
  async function bytesRead(): Promise<number[]> {
    const counts = await Promise.all(
      servers.map(({ pid }) => readFile(`/proc/${pid}/io`, 'utf8').catch(() => '')),
    );
    return counts.map((text) => Number(/rchar: (\d+)/.exec(text)?.[1] ?? 0));
  }

  /** Which process has read the most since `before`. */
  async function receiverSince(before: number[]): Promise<number> {
    const grown = (await bytesRead()).map((count, index) => count - (before[index] ?? 0));
    return grown.indexOf(Math.max(...grown));
  }

  test('one PATCH is not collected on its way: parts are stored while its body is still being sent', async () => {
    const bytes = randomBytes(12 * MIB);
    const url = await create(bytes.length);
    const { request, reply } = open('PATCH', url, { ...patchHeaders(0), 'Content-Length': bytes.length });
    request.write(bytes.subarray(0, 6 * MIB));
    await until(async () => (await storedParts()).includes(5 * MIB), 20_000);
    request.end(bytes.subarray(6 * MIB));
    expect((await reply).status).toBe(204);
    await expectStored(url, bytes);
  });

  test('so it is by HTTP/2, and HTTP/3 is announced where there is one', async () => {
    const bytes = randomBytes(8 * MIB);
    const url = await create(bytes.length);
    const session = http2.connect(edge.origin, { ca: edge.ca });
    try {
      const stream = session.request({
        ':method': 'PATCH',
        ':path': new URL(url).pathname,
        'tus-resumable': '1.0.0',
        'upload-offset': '0',
        'content-type': 'application/offset+octet-stream',
        'content-length': bytes.length,
      });
      stream.write(bytes.subarray(0, 6 * MIB));
      await until(async () => (await storedParts()).includes(5 * MIB), 20_000);
      stream.end(bytes.subarray(6 * MIB));
      const [headers] = await once(stream, 'response');
      expect(headers[':status']).toBe(204);
      expect(headers['upload-offset']).toBe(String(bytes.length));
      if (startEdge === startCaddy) expect(headers['alt-svc']).toContain('h3=');
      stream.resume();
    } finally {
      session.destroy();
    }
    await expectStored(url, bytes);
  });

  test('tus-js-client uploads in one request and in many', async () => {
    for (const chunkSize of [Number.POSITIVE_INFINITY, 700_001]) {
      const bytes = randomBytes(11 * MIB + 13);
      const { url } = await uploadByClient(bytes, { chunkSize });
      await expectStored(url, bytes);
    }
  });

  test('PATCHes that go to one process and then to the other make one upload', async () => {
    const bytes = randomBytes(7 * MIB);
    const url = await create(bytes.length);
    const receivers: number[] = [];
    for (let offset = 0; offset < bytes.length; ) {
      const end = Math.min(offset + 200_000, bytes.length);
      const before = await bytesRead();
      const reply = await send('PATCH', url, patchHeaders(offset), bytes.subarray(offset, end));
      expect(reply.status).toBe(204);
      expect(reply.headers['upload-offset']).toBe(String(end));
      receivers.push(await receiverSince(before));
      offset = end;
    }
    const changes = receivers.filter((receiver, index) => index > 0 && receiver !== receivers[index - 1]);
    expect(changes.length).toBeGreaterThan(3);
    await expectStored(url, bytes);
  });

  test('a Location is right whatever a client says about itself, and long metadata passes', async () => {
    const metadata = `note ${Buffer.from('x'.repeat(20_000)).toString('base64')}`;
    const reply = await send('POST', `${edge.origin}/files`, {
      'Upload-Length': 5,
      'Upload-Metadata': metadata,
      'X-Forwarded-Host': 'evil.example',
      'X-Forwarded-Proto': 'ftp',
      Forwarded: 'host=evil.example',
    });
    expect(reply.status).toBe(201);
    const url = new URL(reply.headers.location as string, edge.origin);
    expect(url.origin).toBe(edge.origin);
    const head = await send('HEAD', url.href);
    expect(head.headers['upload-metadata']).toBe(metadata);
  });

  test('clients that go away in the middle do not count against the processes', async () => {
    const bytes = randomBytes(2 * MIB);
    for (let round = 0; round < 4; round += 1) {
      const url = await create(bytes.length);
      const before = await bytesRead();
      const { request } = open('PATCH', url, { ...patchHeaders(0), 'Content-Length': bytes.length });
      request.write(bytes.subarray(0, MIB));
      await until(async () =>
        (await bytesRead()).some((count, index) => count - (before[index] ?? 0) > MIB / 2),
      );
      request.destroy();
      // At once, and by whichever process: nobody has been taken out.
      const offset = await offsetOf(url);
      expect(offset).toBeGreaterThan(0);
      expect(offset).toBeLessThanOrEqual(MIB);
      const reply = await send('PATCH', url, patchHeaders(offset), bytes.subarray(offset));
      expect(reply.status).toBe(204);
      await expectStored(url, bytes);
    }
  });

  test('SIGTERM in the middle of a PATCH: what was received is kept, and the other process goes on', async () => {
    const bytes = randomBytes(14 * MIB);
    const url = await create(bytes.length);
    const before = await bytesRead();
    const { request, reply } = open('PATCH', url, { ...patchHeaders(0), 'Content-Length': bytes.length });
    request.write(bytes.subarray(0, 8 * MIB));
    await until(async () => (await storedParts()).includes(5 * MIB), 20_000);
    const receiver = await receiverSince(before);
    const ending = servers[receiver]?.stop('SIGTERM');
    // Cut, or told to come back: never that all has arrived.
    const status = await reply.then(
      (answer) => answer.status,
      () => 0,
    );
    expect([0, 423, 502, 503]).toContain(status);
    const offset = await offsetOf(url);
    expect(offset).toBeGreaterThanOrEqual(5 * MIB);
    expect(offset).toBeLessThanOrEqual(8 * MIB);
    await goOn(url, bytes, offset);
    expect(await ending).toBe(0);
    await expectStored(url, bytes);
  });

  test('a rolling restart under tus-js-client: it goes on at the other process and never starts over', async () => {
    const bytes = randomBytes(32 * MIB);
    const restarts: Promise<void>[] = [];
    const { url, requests } = await uploadByClient(bytes, {
      // Slowly enough for two restarts: loopback would be done before.
      chunkSize: 2 * MIB,
      onSent(sent) {
        if (sent > restarts.length * 12 * MIB + 8 * MIB && restarts.length < 2)
          restarts.push(restart(restarts.length));
      },
    });
    await Promise.all(restarts);
    expect(restarts).toHaveLength(2);
    expect(requests.filter((method) => method === 'POST')).toHaveLength(1);
    await expectStored(url, bytes);

    async function restart(index: number): Promise<void> {
      expect(await servers[index]?.stop('SIGTERM')).toBe(0);
      servers[index] = await startProcess(ports[index] as number);
    }
  });

  test('SIGTERM in the middle of the one PATCH of tus-js-client: it goes on at the other process', async () => {
    const bytes = randomBytes(24 * MIB);
    const before = await bytesRead();
    let ending: Promise<number | null | undefined> | undefined;
    // Two seconds for all of it: loopback could be done before the signal comes.
    const relay = await startRelay(Number(new URL(edge.origin).port), 12 * MIB);
    const { url, requests } = await uploadByClient(bytes, {
      origin: `https://localhost:${relay.port}`,
      chunkSize: Number.POSITIVE_INFINITY,
      onSent(sent) {
        if (sent > 8 * MIB)
          ending ??= receiverSince(before).then((receiver) => servers[receiver]?.stop('SIGTERM'));
      },
    });
    expect(await ending).toBe(0);
    // Created once, found again by HEAD, and gone on with.
    expect(requests).toEqual([
      'POST',
      'PATCH',
      ...requests.slice(2, -1).filter((method) => method !== 'POST'),
      'PATCH',
    ]);
    expect(requests).toContain('HEAD');
    await expectStored(url, bytes);
    await relay.close();
  });

  test('when no process is there: a HEAD is told to try again, and the upload goes on later', async () => {
    const bytes = randomBytes(MIB);
    const url = await create(bytes.length);
    expect((await send('PATCH', url, patchHeaders(0), bytes.subarray(0, 1000))).status).toBe(204);
    for (const server of servers) expect(await server.stop('SIGTERM')).toBe(0);
    const head = await send('HEAD', url);
    expect(head.status).toBe(423);
    expect(head.headers['retry-after']).toBe('5');
    expect(
      (await send('PATCH', url, patchHeaders(1000), bytes.subarray(1000))).status,
    ).toBeGreaterThanOrEqual(502);
    servers[1] = await startProcess(ports[1]);
    await until(async () => (await send('HEAD', url)).status === 200, 20_000);
    expect(await offsetOf(url)).toBe(1000);
    expect((await send('PATCH', url, patchHeaders(1000), bytes.subarray(1000))).status).toBe(204);
    await expectStored(url, bytes);
  });

  test('a reload of its configuration cuts nothing off that ends soon', async () => {
    const bytes = randomBytes(3 * MIB);
    const url = await create(bytes.length);
    const { request, reply } = open('PATCH', url, { ...patchHeaders(0), 'Content-Length': bytes.length });
    const before = await bytesRead();
    request.write(bytes.subarray(0, MIB));
    await until(async () => (await bytesRead()).some((count, index) => count - (before[index] ?? 0) >= MIB));
    await edge.reload();
    await sleep(500);
    request.end(bytes.subarray(MIB));
    expect((await reply).status).toBe(204);
    await expectStored(url, bytes);
  });

  interface ClientOptions {
    /** Default: the proxy's own. */
    origin?: string;
    chunkSize: number;
    onSent?: (bytes: number) => void;
  }

  /** Uploads by the real client, with its default delays between retries. */
  function uploadByClient(
    bytes: Buffer,
    { origin = edge.origin, chunkSize, onSent }: ClientOptions,
  ): Promise<{ url: string; requests: string[] }> {
    const requests: string[] = [];
    return new Promise((resolve, reject) => {
      const upload = new tus.Upload(bytes, {
        endpoint: `${origin}/files`,
        httpStack: new tus.DefaultHttpStack({ ca: edge.ca }),
        chunkSize,
        metadata: { filename: 'edge.bin' },
        onBeforeRequest: (request) => void requests.push(request.getMethod()),
        onProgress: (sent) => onSent?.(sent),
        onError: reject,
        onSuccess: () => resolve({ url: upload.url as string, requests }),
      });
      upload.start();
    });
  }
});

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
