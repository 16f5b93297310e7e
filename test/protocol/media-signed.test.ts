import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type MediaApp, startMediaApp } from '../support/media-app.ts';
import { type HttpReply, head, request } from '../support/tus.ts';

/* LANDFALL_MEDIA_ACCESS=signed: an id alone opens nothing but its upload. */

const TOKEN = 'operator-token-0123456789';
const BEARER = { Authorization: `Bearer ${TOKEN}` };
const START = new Date('2026-11-21T12:00:00Z');
const ORIGINAL = randomBytes(5000);
const PREVIEW = randomBytes(2000);

let server: MediaApp;
let id: string;
let name: string;

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: START });
  server = await startMediaApp({
    LANDFALL_MEDIA_ACCESS: 'signed',
    LANDFALL_ADMIN_TOKEN: TOKEN,
    LANDFALL_MEDIA_URL_EXPIRY: '10m',
    LANDFALL_MEDIA_PUBLIC_URL: 'https://cdn.example/x',
  });
  id = await server.upload(ORIGINAL, { filename: 'a.bin' });
  const [preview] = await server.addPreviews(id, [
    { variant: 'preview', contentType: 'image/webp', bytes: PREVIEW },
  ]);
  name = preview?.name ?? '';
});
afterEach(() => vi.setSystemTime(START));
afterAll(async () => {
  vi.useRealTimers();
  await server.close();
});

const get = (path: string, headers: Record<string, string> = {}) =>
  request('GET', server.origin + path, headers);
const codeOf = (reply: HttpReply) => JSON.parse(reply.body.toString()).error.code;
const askForUrls = (body: unknown, headers: Record<string, string> = BEARER) =>
  request(
    'POST',
    `${server.origin}/media/urls`,
    { 'Content-Type': 'application/json', ...headers },
    JSON.stringify(body),
  );

/** The signed path, without what stands in front of it for the CDN. */
async function signedPath(item: Record<string, unknown>): Promise<string> {
  const reply = await askForUrls({ items: [item] });
  const [first] = JSON.parse(reply.body.toString()).urls;
  expect(first.url).toMatch(/^https:\/\/cdn\.example\/x\/media\//);
  expect(first.expiresAt).toBe('2026-11-21T12:10:00.000Z');
  return first.url.slice('https://cdn.example/x'.length);
}

describe('without a signature', () => {
  it('nothing is served, whatever exists', async () => {
    for (const path of [
      `/media/${id}`,
      `/media/${id}/${name}`,
      `/media/${id}?mode=download`,
      `/media/${'A'.repeat(32)}`,
      `/media/${id}?expires=99999999999&signature=${'A'.repeat(43)}`,
    ]) {
      const reply = await get(path);
      expect([path, reply.status, codeOf(reply)]).toEqual([path, 403, 'signature_invalid']);
      expect(reply.headers['cache-control']).toBe('no-store');
    }
  });

  it('the base path is no back door to the original, and uploads go on as ever', async () => {
    const reply = await get(`/files/${id}`);
    expect([reply.status, reply.headers['landfall-error']]).toEqual([403, 'signature_invalid']);
    expect((await head(`${server.filesUrl}/${id}`)).headers['upload-offset']).toBe(String(ORIGINAL.length));
  });

  it('the operator reads everything, with the token', async () => {
    expect((await get(`/media/${id}`, BEARER)).body.equals(PREVIEW)).toBe(true);
    expect((await get(`/files/${id}`, BEARER)).body.equals(ORIGINAL)).toBe(true);
    expect((await get(`/media/${id}`, { Authorization: 'Bearer wrong' })).status).toBe(403);
  });
});

describe('a signed URL', () => {
  it('serves what it names, to its reader alone, and for as long as it lives', async () => {
    const cases: [Record<string, unknown>, Buffer, string][] = [
      [{ id }, PREVIEW, 'private, max-age=60, must-revalidate'],
      [{ id, variant: 'original' }, ORIGINAL, 'private, max-age=60, must-revalidate'],
      [{ id, mode: 'download' }, ORIGINAL, 'private, max-age=60, must-revalidate'],
      [{ id, name }, PREVIEW, 'private, max-age=600, immutable'],
    ];
    for (const [item, bytes, caching] of cases) {
      const reply = await get(await signedPath(item));
      expect([item, reply.status, reply.body.equals(bytes)]).toEqual([item, 200, true]);
      expect(reply.headers['cache-control']).toBe(caching);
    }
    const path = await signedPath({ id, name });
    vi.setSystemTime(START.getTime() + 9.5 * 60_000);
    expect((await get(path)).headers['cache-control']).toBe('private, max-age=30, immutable');
    const part = await get(path, { Range: 'bytes=5-9' });
    expect([part.status, part.body.equals(PREVIEW.subarray(5, 10))]).toEqual([206, true]);
    expect((await request('HEAD', server.origin + path)).status).toBe(200);
  });

  it('may carry what others add to it', async () => {
    expect((await get(`${await signedPath({ id })}&utm_source=mail`)).status).toBe(200);
  });

  it('opens the original under the base path too, when it is one for its download', async () => {
    const download = await signedPath({ id, variant: 'original', mode: 'download' });
    const query = download.slice(download.indexOf('expires='));
    expect((await get(`/files/${id}?${query}`)).body.equals(ORIGINAL)).toBe(true);
    const preview = await signedPath({ id });
    expect((await get(`/files/${id}?${preview.slice(preview.indexOf('expires='))}`)).status).toBe(403);
  });

  it('is refused when it has expired', async () => {
    const path = await signedPath({ id });
    vi.setSystemTime(START.getTime() + 10 * 60_000);
    const reply = await get(path);
    expect([reply.status, codeOf(reply)]).toEqual([403, 'signature_expired']);
  });

  it('is refused when it was made for something else, or for longer', async () => {
    const thumb = await signedPath({ id, variant: 'thumb' });
    const other = await server.upload(Buffer.from('other'));
    const longer = thumb.replace(/expires=\d+/, 'expires=9999999999');
    for (const forged of [
      thumb.replace('thumb', 'original'),
      thumb.replace('variant=thumb&', ''),
      thumb.replace(id, other),
      `${thumb}&mode=download`,
      longer,
      thumb.replace(/signature=.{4}/, 'signature=AAAA'),
    ]) {
      const reply = await get(forged);
      expect([forged, reply.status, codeOf(reply)]).toEqual([forged, 403, 'signature_invalid']);
    }
  });

  it('is good in the next process with the same data directory', async () => {
    const key = await readFile(join(server.dataDir, 'signing.key'), 'utf8');
    const other = await startMediaApp({
      LANDFALL_MEDIA_ACCESS: 'signed',
      LANDFALL_SIGNING_KEY: key.trim(),
    });
    try {
      const reply = await request('GET', other.origin + (await signedPath({ id })));
      // Signed well; the upload is not there.
      expect([reply.status, codeOf(reply)]).toEqual([404, 'upload_not_found']);
    } finally {
      await other.close();
    }
  });
});

describe('POST /media/urls', () => {
  it('is for the operator', async () => {
    const reply = await askForUrls({ ids: [id] }, {});
    expect([reply.status, codeOf(reply)]).toEqual([401, 'unauthorized']);
  });

  it('signs a thousand at once', async () => {
    const reply = await askForUrls({ ids: Array.from({ length: 1000 }, () => id), variant: 'thumb' });
    expect(reply.status).toBe(200);
    const { urls } = JSON.parse(reply.body.toString());
    expect(urls).toHaveLength(1000);
    expect(urls[999]).toMatchObject({ id, variant: 'thumb' });
  });

  it.each([
    [[], 'The body must be a JSON object.'],
    [{}, 'Exactly one of ids and items is needed.'],
    [{ ids: ['x'], items: [] }, 'Exactly one of ids and items is needed.'],
    [{ ids: [] }, 'ids must be a list of 1 to 1000.'],
    [{ ids: Array.from({ length: 1001 }, () => 'A'.repeat(32)) }, 'ids must be a list of 1 to 1000.'],
    [{ ids: ['A'.repeat(32), '../x'] }, 'ids[1] has no valid id.'],
    [{ items: [{ id: 'A'.repeat(32) }, 'x'] }, 'items[1] must be a JSON object.'],
    [{ items: [{ id: 'A'.repeat(32), name: '../x' }] }, 'items[0] has no valid name.'],
    [{ items: [{ id: 'A'.repeat(32), page: -1 }] }, 'items[0]: page must be a number from 1 on.'],
    [{ ids: ['A'.repeat(32)], variant: 'large' }, 'ids[0]: variant must be one of'],
  ])('refuses %j', async (body, message) => {
    const reply = await askForUrls(body);
    expect(reply.status).toBe(400);
    const { error } = JSON.parse(reply.body.toString());
    expect(error.code).toBe('invalid_request');
    expect(error.message).toContain(message);
  });

  it('refuses what is no JSON', async () => {
    const headers = { 'Content-Type': 'application/json', ...BEARER };
    const reply = await request('POST', `${server.origin}/media/urls`, headers, '{');
    expect([reply.status, codeOf(reply)]).toEqual([400, 'invalid_request']);
  });
});

describe('the API', () => {
  it('has signed URLs for the operator, and for nobody else', async () => {
    for (const path of [`/uploads/${id}`, '/uploads']) {
      const body = JSON.parse((await get(path, BEARER)).body.toString());
      const { media } =
        path === '/uploads' ? body.uploads.find((upload: { id: string }) => upload.id === id) : body;
      expect(media.urlsExpireAt).toBe('2026-11-21T12:10:00.000Z');
      const url = media.previews[0].url.replace('https://cdn.example/x', '');
      expect((await get(url)).body.equals(PREVIEW)).toBe(true);
      expect((await get(media.originalUrl.replace('https://cdn.example/x', ''))).body.equals(ORIGINAL)).toBe(
        true,
      );
    }
    const { media } = JSON.parse((await get(`/uploads/${id}`)).body.toString());
    expect(media).toMatchObject({ urlsExpireAt: null });
    expect(media.previews[0].url).toBe(`https://cdn.example/x/media/${id}/${name}`);
  });
});

describe('without an operator token', () => {
  it('this machine may have URLs signed, and reads nothing without one', async () => {
    const local = await startMediaApp({ LANDFALL_MEDIA_ACCESS: 'signed' });
    try {
      const own = await local.upload(ORIGINAL);
      expect((await request('GET', `${local.origin}/media/${own}`)).status).toBe(403);
      const reply = await request(
        'POST',
        `${local.origin}/media/urls`,
        { 'Content-Type': 'application/json' },
        JSON.stringify({ ids: [own] }),
      );
      const [{ url }] = JSON.parse(reply.body.toString()).urls;
      expect((await request('GET', local.origin + url)).body.equals(ORIGINAL)).toBe(true);
    } finally {
      await local.close();
    }
  });
});
