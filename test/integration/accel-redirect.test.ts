import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer as collect } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Edge, startNginx } from '../support/edge.ts';
import { type MediaApp, startMediaApp } from '../support/media-app.ts';
import { createRandom } from '../support/random.ts';
import { freePort } from '../support/redis.ts';
import { type HttpReply, request } from '../support/tus.ts';

/* LANDFALL_ACCEL_REDIRECT, with docs/deploy/nginx.conf in the real nginx: it sends what Landfall only names. */

const ORIGINAL = randomBytes(3_000_001);
const PREVIEW = randomBytes(50_003);

let edge: Edge;
let server: MediaApp;
let id: string;
let name: string;

beforeAll(async () => {
  const port = await freePort();
  const dataDir = await mkdtemp(join(tmpdir(), 'landfall-accel-'));
  // nginx reads it as another user.
  await chmod(dataDir, 0o755);
  edge = await startNginx([port, port], dataDir);
  const env = {
    LANDFALL_PORT: String(port),
    LANDFALL_ACCEL_REDIRECT: '/internal/',
    LANDFALL_TRUSTED_PROXIES: 'loopback',
  };
  server = await startMediaApp(env, dataDir);
  id = await server.upload(ORIGINAL, { filename: 'ünï.jpg', filetype: 'image/jpeg' });
  const [preview] = await server.addPreviews(id, [
    { variant: 'preview', contentType: 'image/webp', bytes: PREVIEW },
  ]);
  name = preview?.name ?? '';
});
afterAll(async () => {
  await edge?.stop();
  await server?.close();
});

async function get(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<HttpReply> {
  const req = https.request(edge.origin + path, { method, headers, ca: edge.ca, agent: false });
  req.end();
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  return { status: res.statusCode ?? 0, headers: res.headers, body: await collect(res) };
}

describe('X-Accel-Redirect', () => {
  it('is all that Landfall answers', async () => {
    const reply = await request('GET', `${server.origin}/media/${id}/${name}`);
    expect([reply.status, reply.body.length]).toEqual([200, 0]);
    expect(reply.headers['x-accel-redirect']).toBe(`/internal/previews/${id}/${name}`);
    const original = await request('GET', `${server.origin}/media/${id}?mode=download`);
    expect(original.headers['x-accel-redirect']).toBe(`/internal/uploads/${id}`);
  });

  it('lets nginx send previews and originals, with the headers that Landfall gave them', async () => {
    const preview = await get(`/media/${id}/${name}`, { Origin: 'https://app.example' });
    expect(preview.status).toBe(200);
    expect(preview.body.equals(PREVIEW)).toBe(true);
    expect(preview.headers).toMatchObject({
      server: expect.stringContaining('nginx'),
      'content-type': 'image/webp',
      'cache-control': 'public, max-age=31536000, immutable',
      'content-disposition': expect.stringMatching(/^inline; filename=.*-preview\.webp/),
      'x-content-type-options': 'nosniff',
      'content-security-policy': "sandbox; default-src 'none'",
      'cross-origin-resource-policy': 'cross-origin',
      'timing-allow-origin': '*',
      'access-control-allow-origin': '*',
      'accept-ranges': 'bytes',
    });
    expect(preview.headers['x-accel-redirect']).toBeUndefined();
    const original = await get(`/media/${id}?mode=download`);
    expect(original.body.equals(ORIGINAL)).toBe(true);
    expect(original.headers['content-disposition']).toBe(
      `attachment; filename=uni.jpg; filename*=UTF-8''%C3%BCn%C3%AF.jpg`,
    );
    expect((await get(`/media/${id}`)).headers.vary).toContain('Accept');
  });

  it('answers HEAD and conditions', async () => {
    const head = await get(`/media/${id}/${name}`, {}, 'HEAD');
    expect([head.status, head.headers['content-length']]).toEqual([200, String(PREVIEW.length)]);
    const { etag = '', 'last-modified': date = '' } = head.headers;
    for (const condition of [{ 'If-None-Match': etag }, { 'If-Modified-Since': date }]) {
      expect((await get(`/media/${id}/${name}`, condition)).status).toBe(304);
    }
    const rest = await get(`/media/${id}/${name}`, { Range: 'bytes=1-', 'If-Range': etag });
    expect([rest.status, rest.body.equals(PREVIEW.subarray(1))]).toEqual([206, true]);
    const again = await get(`/media/${id}/${name}`, { Range: 'bytes=1-', 'If-Range': '"old"' });
    expect([again.status, again.body.equals(PREVIEW)]).toEqual([200, true]);
  });

  it('sends slices', async () => {
    const random = createRandom(5);
    for (let count = 0; count < 50; count += 1) {
      const start = random.below(ORIGINAL.length);
      const end = start + random.below(ORIGINAL.length - start);
      const reply = await get(`/media/${id}?variant=original`, { Range: `bytes=${start}-${end}` });
      expect([reply.status, reply.body.equals(ORIGINAL.subarray(start, end + 1))]).toEqual([206, true]);
    }
  });

  it('opens nothing else: what Landfall refuses stays refused, and nobody names a path', async () => {
    for (const path of ['/internal/server.lock', `/internal/uploads/${id}`, '/internal/catalog.db']) {
      expect((await get(path)).status).toBe(404);
    }
    const missing = await get(`/media/${id}/preview-00.webp`);
    expect([missing.status, JSON.parse(missing.body.toString()).error.code]).toEqual([
      404,
      'preview_not_found',
    ]);
    expect(missing.headers['cache-control']).toBe('no-store');
  });
});
