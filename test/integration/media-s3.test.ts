import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { mediaServingContract } from '../contracts/media-serving.ts';
import { type MediaApp, startMediaApp } from '../support/media-app.ts';
import { connectRaw, startLoopbackServer } from '../support/raw-http.ts';
import { openTestBucket } from '../support/s3-bucket.ts';
import { s3Environment, setKeysOfProcess } from '../support/s3-environment.ts';
import { request } from '../support/tus.ts';

const service = inject('s3');
const bucket = openTestBucket(service);
setKeysOfProcess(service);
afterAll(() => bucket.close());

const S3_ENV = s3Environment(service, bucket);

mediaServingContract('S3', () => S3_ENV);

describe('redirects to presigned URLs', () => {
  let server: MediaApp;
  let id: string;
  let name: string;
  const original = randomBytes(5000);
  const preview = randomBytes(2000);
  beforeAll(async () => {
    server = await startMediaApp({
      ...S3_ENV,
      LANDFALL_MEDIA_REDIRECT: 'presigned',
      LANDFALL_MEDIA_URL_EXPIRY: '100s',
    });
    id = await server.upload(original, { filename: 'ünï.html', filetype: 'text/html' });
    const [stored] = await server.addPreviews(id, [
      { variant: 'preview', contentType: 'image/webp', bytes: preview },
    ]);
    name = stored?.name ?? '';
  });
  afterAll(() => server.close());

  const get = (path: string, method = 'GET') => request(method, server.origin + path);

  it('lead to the bucket for less time than they are kept, under headers that are as safe', async () => {
    const cases = [
      [`/media/${id}`, preview, 'image/webp', /^inline; /, 'public, max-age=50'],
      [`/media/${id}/${name}`, preview, 'image/webp', /^inline; /, 'public, max-age=50'],
      [
        `/media/${id}?variant=original`,
        original,
        'application/octet-stream',
        /^attachment; /,
        'public, max-age=50',
      ],
    ] as const;
    for (const [path, bytes, type, disposition, caching] of cases) {
      const reply = await get(path);
      expect(reply.status).toBe(302);
      expect(reply.body).toHaveLength(0);
      expect(reply.headers['cache-control']).toBe(caching);
      expect(reply.headers['access-control-allow-origin']).toBeUndefined();
      const url = new URL(reply.headers.location ?? '');
      expect(url.origin).toBe(service.endpoint);
      expect(url.searchParams.get('X-Amz-Expires')).toBe('100');
      const answer = await fetch(url, { headers: { Range: 'bytes=10-' } });
      expect(answer.status).toBe(206);
      expect(Buffer.from(await answer.arrayBuffer()).equals(bytes.subarray(10))).toBe(true);
      expect(answer.headers.get('content-type')).toBe(type);
      expect(answer.headers.get('content-disposition')).toMatch(disposition);
    }
    expect((await get(`/media/${id}`)).headers.vary).toBe('Accept');
  });

  it('are no answer to HEAD, and nothing that may not be served is signed', async () => {
    const head = await get(`/media/${id}`, 'HEAD');
    expect([head.status, head.headers['content-length']]).toEqual([200, String(preview.length)]);
    const rejected = await server.upload(Buffer.from('x'));
    await server.backend.catalog.transition(rejected, 'ready', 'rejected', { reason: 'No.' });
    expect((await get(`/media/${rejected}`)).status).toBe(410);
  });

  it('lead to the original while its previews are made, once it is verified', async () => {
    const { catalog } = server.backend;
    const pending = await server.upload(original);
    const declaredSha256 = createHash('sha256').update(original).digest('hex');
    await catalog.transition(pending, 'ready', 'processing', { declaredSha256, sha256: null });
    expect((await get(`/media/${pending}?mode=download`)).status).toBe(202);
    await catalog.update(pending, { sha256: declaredSha256 });
    expect((await get(`/media/${pending}`)).status).toBe(202);
    const reply = await get(`/media/${pending}?mode=download`);
    expect(reply.status).toBe(302);
    const answer = await fetch(reply.headers.location ?? '');
    expect(Buffer.from(await answer.arrayBuffer()).equals(original)).toBe(true);
  });

  it('live no longer than the signed URL that led to them', async () => {
    const signed = await startMediaApp({
      ...S3_ENV,
      LANDFALL_MEDIA_REDIRECT: 'presigned',
      LANDFALL_MEDIA_ACCESS: 'signed',
      LANDFALL_MEDIA_URL_EXPIRY: '20s',
    });
    try {
      const own = await signed.upload(original);
      const body = JSON.stringify({ ids: [own] });
      const headers = { 'Content-Type': 'application/json' };
      const reply = await request('POST', `${signed.origin}/media/urls`, headers, body);
      const [{ url, expiresAt }] = JSON.parse(reply.body.toString()).urls;
      const leftMs = Date.parse(expiresAt) - Date.now();
      const redirect = await request('GET', signed.origin + url);
      expect(redirect.status).toBe(302);
      const seconds = Number(new URL(redirect.headers.location ?? '').searchParams.get('X-Amz-Expires'));
      expect(seconds).toBeLessThanOrEqual(leftMs / 1000);
      expect(redirect.headers['cache-control']).toBe(`private, max-age=${Math.floor(seconds / 2)}`);
    } finally {
      await signed.close();
    }
  });
});

it('a client that goes away frees the connection to S3', { timeout: 30_000 }, async () => {
  const proxy = await startS3Watch(service.endpoint);
  const server = await startMediaApp({ ...S3_ENV, LANDFALL_S3_ENDPOINT: proxy.endpoint });
  try {
    const bytes = randomBytes(80_000_000);
    const id = await server.upload(bytes);
    for (const path of [`/media/${id}?mode=download`, `/files/${id}`]) {
      const socket = await connectRaw(Number(new URL(server.origin).port));
      try {
        socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
        await once(socket, 'data');
        socket.pause();
        await vi.waitFor(() => expect(proxy.downloads()).toBe(1), { timeout: 10_000 });
        // Nobody takes the bytes: what the sockets on the way do not hold stays in S3 and is not gathered here.
        expect(await settledValue(proxy.sentBytes)).toBeLessThan(bytes.length / 2);
      } finally {
        socket.destroy();
      }
      await vi.waitFor(() => expect(proxy.downloads()).toBe(0), { timeout: 10_000 });
      proxy.forget();
    }
  } finally {
    await server.close();
    await proxy.close();
  }
});

/** A number once it has stopped to grow. */
async function settledValue(read: () => number): Promise<number> {
  for (let before = -1; ; ) {
    const now = read();
    if (now === before) return now;
    before = now;
    await sleep(300);
  }
}

/** A proxy in front of S3 that knows which objects are being sent, and how much of them was taken. */
async function startS3Watch(target: string) {
  let downloads = 0;
  let sentBytes = 0;
  const { hostname, port } = new URL(target);
  const proxy = await startLoopbackServer((req, res) => {
    const onward = http.request({ hostname, port, method: req.method, path: req.url, headers: req.headers });
    onward.on('error', () => res.destroy());
    onward.on('response', (answer) => {
      const isDownload = req.method === 'GET' && req.headers.range !== undefined;
      if (isDownload) downloads += 1;
      res.on('close', () => {
        if (isDownload) downloads -= 1;
        answer.destroy();
      });
      res.writeHead(answer.statusCode ?? 0, answer.headers);
      if (isDownload) answer.on('data', (chunk: Buffer) => (sentBytes += chunk.length));
      answer.pipe(res);
    });
    req.pipe(onward);
  });
  return {
    endpoint: `http://127.0.0.1:${proxy.port}`,
    downloads: () => downloads,
    sentBytes: () => sentBytes,
    forget: () => (sentBytes = 0),
    close: proxy.close,
  };
}
