import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { StoreError } from '../../stores/errors.ts';
import type { StoredPreview } from '../../stores/media-info.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { type MediaApp, startMediaApp } from '../support/media-app.ts';
import { createRandom } from '../support/random.ts';
import { connectRaw } from '../support/raw-http.ts';
import { type HttpReply, request, TUS } from '../support/tus.ts';

const GENERATED_RANGES = 1000;
const ORIGINAL = randomBytes(700_001);
const WEBP = randomBytes(40_003);
const AVIF = randomBytes(20_001);

/** What `/media` promises, wherever the bytes are. */
export function mediaServingContract(name: string, env: () => Record<string, string>): void {
  describe(`serving media: ${name}`, () => {
    let server: MediaApp;
    let photo: string;
    let webp: StoredPreview;
    let avif: StoredPreview;
    let document: string;
    let plain: string;

    const get = (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<HttpReply> =>
      request(method, server.origin + path, headers);
    const codeOf = (reply: HttpReply) => JSON.parse(reply.body.toString()).error.code;

    beforeAll(async () => {
      server = await startMediaApp(env());
      photo = await server.upload(ORIGINAL, { filename: 'hö "li".jpg', filetype: 'image/jpeg' });
      [webp, avif] = (await server.addPreviews(
        photo,
        [
          { variant: 'preview', contentType: 'image/webp', bytes: WEBP, width: 1800, height: 1200 },
          { variant: 'preview', contentType: 'image/avif', bytes: AVIF, width: 1800, height: 1200 },
          { variant: 'thumb', contentType: 'image/webp', bytes: Buffer.from('thumbnail') },
        ],
        { type: 'image/jpeg', width: 6000, height: 4000, placeholder: 'AAAA' },
      )) as [StoredPreview, StoredPreview];
      document = await server.upload(randomBytes(1000), {
        filename: 'report.pdf',
        filetype: 'application/pdf',
      });
      await server.addPreviews(
        document,
        [1, 2].map((page) => ({
          variant: 'page' as const,
          page,
          contentType: 'image/webp',
          bytes: Buffer.from(`page ${page}`),
        })),
        { type: 'application/pdf', pages: 2 },
      );
      plain = await server.upload(Buffer.from('hello'), { filename: 'a.txt', filetype: 'text/plain' });
    });
    afterAll(() => server.close());

    it('gives the preview by default, with everything that a browser should know', async () => {
      const reply = await get(`/media/${photo}`, { Origin: 'https://app.example' });
      expect(reply.status).toBe(200);
      expect(reply.body.equals(WEBP)).toBe(true);
      expect(reply.headers).toMatchObject({
        'content-type': 'image/webp',
        'content-length': String(WEBP.length),
        'content-disposition': `inline; filename="ho _li_-preview.webp"; filename*=UTF-8''h%C3%B6%20%22li%22-preview.webp`,
        'cache-control': 'public, max-age=60, must-revalidate',
        etag: `"${webp.name}"`,
        'accept-ranges': 'bytes',
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringContaining('sandbox'),
        'cross-origin-resource-policy': 'cross-origin',
        'timing-allow-origin': '*',
        'access-control-allow-origin': '*',
        vary: 'Accept',
      });
      expect(Date.parse(reply.headers['last-modified'] ?? '')).toBeGreaterThan(Date.now() - 600_000);
    });

    it('gives the original for a download, and where it is asked for', async () => {
      const download = await get(`/media/${photo}?mode=download`);
      expect(download.body.equals(ORIGINAL)).toBe(true);
      expect(download.headers['content-type']).toBe('image/jpeg');
      expect(download.headers['content-disposition']).toBe(
        `attachment; filename="ho _li_.jpg"; filename*=UTF-8''h%C3%B6%20%22li%22.jpg`,
      );
      const shown = await get(`/media/${photo}?variant=original`);
      expect(shown.body.equals(ORIGINAL)).toBe(true);
      expect(shown.headers['content-disposition']).toMatch(/^inline; /);
      const saved = await get(`/media/${photo}?variant=thumb&mode=download`);
      expect(saved.body.toString()).toBe('thumbnail');
      expect(saved.headers['content-disposition']).toMatch(/^attachment; .*-thumb\.webp$/);
    });

    it('gives every variant and page by its name', async () => {
      expect((await get(`/media/${photo}?variant=thumb`)).body.toString()).toBe('thumbnail');
      expect((await get(`/media/${document}`)).body.toString()).toBe('page 1');
      expect((await get(`/media/${document}?variant=page`)).body.toString()).toBe('page 1');
      expect((await get(`/media/${document}?page=2`)).body.toString()).toBe('page 2');
      const last = await get(`/media/${document}?variant=page&page=2`);
      expect(last.headers['content-disposition']).toBe('inline; filename=report-page-2.webp');
    });

    it.each([
      ['image/avif,image/webp,image/apng,image/*,*/*;q=0.8', 'image/avif'],
      ['image/webp,*/*', 'image/webp'],
      ['image/avif;q=0.5,image/webp', 'image/webp'],
      ['image/avif', 'image/avif'],
      ['*/*', 'image/webp'],
      ['image/jpeg', 'image/webp'],
      ['text/html', 'image/webp'],
    ])('negotiates: "Accept: %s" gets %s', async (accept, type) => {
      const reply = await get(`/media/${photo}`, { Accept: accept });
      expect(reply.headers['content-type']).toBe(type);
      expect(reply.body.equals(type === 'image/avif' ? AVIF : WEBP)).toBe(true);
      expect(reply.headers.vary).toBe('Accept');
    });

    it('keeps what is named by its content for a year', async () => {
      const reply = await get(`/media/${photo}/${avif.name}`, { Accept: 'image/webp' });
      expect(reply.body.equals(AVIF)).toBe(true);
      expect(reply.headers['cache-control']).toBe('public, max-age=31536000, immutable');
      expect(reply.headers.vary).toBeUndefined();
      const original = await get(`/media/${plain}`);
      expect(original.headers['cache-control']).toBe('public, max-age=60, must-revalidate');
    });

    it('shows an original without previews, where a browser cannot run it', async () => {
      const text = await get(`/media/${plain}`);
      expect([text.body.toString(), text.headers['content-disposition']]).toEqual([
        'hello',
        'inline; filename=a.txt',
      ]);
      const html = await server.upload(Buffer.from('<script>'), {
        filename: 'a.html',
        filetype: 'text/html',
      });
      for (const query of ['', '?variant=original', '?mode=preview']) {
        const reply = await get(`/media/${html}${query}`);
        expect(reply.headers['content-type']).toBe('application/octet-stream');
        expect(reply.headers['content-disposition']).toBe('attachment; filename=a.html');
      }
      // What the bytes are counts, not what they were called.
      const disguised = await server.upload(Buffer.from('<svg>'), { filetype: 'image/png' });
      await server.addPreviews(disguised, [], { type: 'image/svg+xml' });
      const reply = await get(`/media/${disguised}?variant=original`);
      expect(reply.headers['content-type']).toBe('application/octet-stream');
      expect(reply.headers['content-disposition']).toBe('attachment');
    });

    it('says why there is no such preview', async () => {
      const bomb = await server.upload(Buffer.from('bomb'));
      await server.addPreviews(bomb, [], {
        missing: { code: 'too_large', message: 'It has more pixels than the limit.' },
      });
      const reply = await get(`/media/${bomb}?variant=preview`);
      expect(reply.status).toBe(404);
      expect(JSON.parse(reply.body.toString())).toEqual({
        error: {
          code: 'preview_not_found',
          message: 'There is no such preview of this upload. It has more pixels than the limit.',
          reason: 'too_large',
        },
      });
      for (const path of [
        `${photo}?variant=poster`,
        `${document}?page=3`,
        `${photo}/preview-00.webp`,
        `${plain}?variant=thumb`,
      ]) {
        const other = await get(`/media/${path}`);
        expect([other.status, codeOf(other)]).toEqual([404, 'preview_not_found']);
        expect(other.headers['cache-control']).toBe('no-store');
      }
    });

    it('says with a 404 when a preview that was made is gone from the store', async () => {
      const id = await server.upload(Buffer.from('x'));
      await server.addPreviews(id, [
        { variant: 'preview', contentType: 'image/webp', bytes: Buffer.from('gone') },
      ]);
      await server.backend.previews.removeAll(id);
      const reply = await get(`/media/${id}`);
      expect([reply.status, codeOf(reply)]).toEqual([404, 'preview_not_found']);
    });

    it('gives the original while previews are being made, and while the catalog is away', async () => {
      const { catalog } = server.backend;
      const id = await server.upload(Buffer.from('original'));
      await catalog.transition(id, 'ready', 'processing');
      for (const query of ['mode=download', 'variant=original']) {
        expect((await get(`/media/${id}?${query}`)).body.toString()).toBe('original');
      }
      expect((await get(`/media/${id}`)).status).toBe(202);
      expect((await get(`/media/${id}?variant=thumb&mode=download`)).status).toBe(202);
      await catalog.transition(id, 'processing', 'ready');
      const away = vi
        .spyOn(catalog, 'get')
        .mockRejectedValue(new StoreError('store_unavailable', 'the catalog is away'));
      try {
        expect((await get(`/media/${id}?mode=download`)).body.toString()).toBe('original');
        const preview = await get(`/media/${id}`);
        expect([preview.status, codeOf(preview)]).toEqual([503, 'store_unavailable']);
      } finally {
        away.mockRestore();
      }
    });

    it('gives the original as soon as it is verified, and not before', async () => {
      const { catalog } = server.backend;
      const original = Buffer.from('original');
      const id = await server.upload(original);
      const declaredSha256 = createHash('sha256').update(original).digest('hex');
      await catalog.transition(id, 'ready', 'processing', { declaredSha256, sha256: null });
      const statusesOf = async (headers: object) => {
        const queries = ['', '?variant=thumb', '?mode=download', '?variant=original'];
        const replies = await Promise.all(queries.map((query) => get(`/media/${id}${query}`)));
        for (const reply of replies) if (reply.status === 202) expect(reply.headers).toMatchObject(headers);
        return replies.map(({ status }) => status);
      };
      const waits = { 'retry-after': '1', 'cache-control': 'no-store' };
      expect(await statusesOf(waits)).toEqual([202, 202, 202, 202]);
      expect((await get(`/media/${id}?mode=download`, {}, 'HEAD')).status).toBe(202);
      await catalog.update(id, { sha256: declaredSha256 });
      expect(await statusesOf(waits)).toEqual([202, 202, 200, 200]);
      await catalog.transition(id, 'processing', 'ready');
      expect(await statusesOf(waits)).toEqual([200, 404, 200, 200]);
    });

    it('tells a client to wait, to go away, or that there is nothing', async () => {
      const { catalog } = server.backend;
      const id = await server.upload(Buffer.from('x'));
      for (const state of ['received', 'processing'] as const) {
        await catalog.transition(id, ['ready', 'received'], state);
        const reply = await get(`/media/${id}`);
        expect(reply.status).toBe(202);
        expect(reply.headers).toMatchObject({ 'retry-after': '1', 'cache-control': 'no-store' });
        expect(JSON.parse(reply.body.toString())).toEqual({ id, state });
      }
      await catalog.transition(id, 'processing', 'rejected', { reason: 'Not this one.' });
      const rejected = await get(`/media/${id}`);
      expect([rejected.status, codeOf(rejected)]).toEqual([410, 'upload_rejected']);
      const deleted = await server.upload(Buffer.from('x'));
      await request('DELETE', `${server.filesUrl}/${deleted}`, TUS);
      expect((await get(`/media/${deleted}`)).status).toBe(410);
      const unknown = await get(`/media/${newUploadId()}`);
      expect([unknown.status, codeOf(unknown)]).toEqual([404, 'upload_not_found']);
      const created = await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '10' });
      const unfinished = await get(`/media/${String(created.headers.location).split('/').at(-1)}`);
      expect([unfinished.status, codeOf(unfinished)]).toEqual([409, 'upload_unfinished']);
    });

    it.each([
      ['?variant=large', 400],
      ['?variant=thumb&variant=page', 400],
      ['?page=0', 400],
      ['?page=1e3', 400],
      ['?mode=inline', 400],
      ['/..%2f..%2fcatalog.db', 404],
      ['/UPPER.webp', 404],
      ['/manifest.json', 404],
      ['/a/b', 404],
    ])('refuses /media/<id>%s with %i', async (rest, status) => {
      const reply = await get(`/media/${photo}${rest}`);
      expect(reply.status).toBe(status);
    });

    it.each(['..%2f..%2fserver.lock', '%00', 'short', '.', 'A'.repeat(200)])(
      'takes %s for no id',
      async (id) => {
        expect((await get(`/media/${id}`)).status).toBe(404);
      },
    );

    it('answers HEAD like GET, without the bytes', async () => {
      for (const path of [
        `/media/${photo}`,
        `/media/${photo}/${avif.name}`,
        `/media/${photo}?mode=download`,
      ]) {
        const [whole, head] = [await get(path), await get(path, {}, 'HEAD')];
        expect(head.status).toBe(200);
        expect(head.body).toHaveLength(0);
        const { date: _, connection: __, ...headers } = whole.headers;
        expect(head.headers).toMatchObject(headers);
      }
      expect((await get(`/media/${newUploadId()}`, {}, 'HEAD')).status).toBe(404);
    });

    it('lets other origins ask first', async () => {
      const reply = await get(`/media/${photo}`, { Origin: 'https://app.example' }, 'OPTIONS');
      expect(reply.status).toBe(204);
      expect(reply.headers['access-control-allow-origin']).toBe('*');
      expect(reply.headers['access-control-allow-headers']).toContain('Range');
    });

    describe('conditions', () => {
      const paths = () => [
        `/media/${photo}`,
        `/media/${photo}/${webp.name}`,
        `/media/${photo}?mode=download`,
      ];

      it('says 304 to who has it, by tag or by date, and keeps what a cache needs', async () => {
        for (const path of paths()) {
          const {
            etag = '',
            'last-modified': date = '',
            'cache-control': caching,
          } = (await get(path)).headers;
          for (const headers of [
            { 'If-None-Match': etag },
            { 'If-None-Match': `"other", W/${etag}` },
            { 'If-None-Match': '*' },
            { 'If-Modified-Since': date },
          ]) {
            const reply = await get(path, headers);
            expect(reply.status).toBe(304);
            expect(reply.body).toHaveLength(0);
            expect(reply.headers.etag).toBe(etag);
            expect(reply.headers['cache-control']).toBe(caching);
            expect(reply.headers['content-length']).toBeUndefined();
          }
          for (const headers of [
            { 'If-None-Match': '"other"' },
            { 'If-None-Match': '"other"', 'If-Modified-Since': date },
            { 'If-Modified-Since': 'Thu, 01 Jan 1970 00:00:00 GMT' },
          ]) {
            expect((await get(path, headers)).status).toBe(200);
          }
          expect((await get(path, { 'If-Match': '"other"' })).status).toBe(412);
          expect((await get(path, { 'If-Match': etag })).status).toBe(200);
        }
      });

      it('has another tag for another form', async () => {
        const tags = await Promise.all(
          ['image/avif', 'image/webp'].map(
            async (Accept) => (await get(`/media/${photo}`, { Accept })).headers.etag,
          ),
        );
        expect(new Set(tags).size).toBe(2);
        const crossed = await get(`/media/${photo}`, {
          Accept: 'image/avif',
          'If-None-Match': tags[1] ?? '',
        });
        expect([crossed.status, crossed.body.equals(AVIF)]).toEqual([200, true]);
      });

      it('goes on with If-Range, or starts again', async () => {
        for (const [path, bytes] of [
          [`/media/${photo}`, WEBP],
          [`/media/${photo}?variant=original`, ORIGINAL],
        ] as const) {
          const { etag = '', 'last-modified': date = '' } = (await get(path)).headers;
          for (const current of [etag, date]) {
            const reply = await get(path, { Range: 'bytes=100-199', 'If-Range': current });
            expect(reply.status).toBe(206);
            expect(reply.headers['content-range']).toBe(`bytes 100-199/${bytes.length}`);
            expect(reply.body.equals(bytes.subarray(100, 200))).toBe(true);
          }
          for (const old of ['"old"', `W/${etag}`, 'Thu, 01 Jan 1970 00:00:00 GMT']) {
            const reply = await get(path, { Range: 'bytes=100-199', 'If-Range': old });
            expect([reply.status, reply.body.equals(bytes)]).toEqual([200, true]);
          }
        }
      });
    });

    describe('ranges', () => {
      it('are refused when they are not within the bytes', async () => {
        const reply = await get(`/media/${photo}`, { Range: `bytes=${WEBP.length}-` });
        expect(reply.status).toBe(416);
        expect(reply.headers['content-range']).toBe(`bytes */${WEBP.length}`);
      });

      it('come as several parts', async () => {
        const reply = await get(`/media/${photo}?variant=original`, { Range: 'bytes=0-9,700000-,500-599' });
        expect(reply.status).toBe(206);
        const parts = partsOf(reply);
        expect(parts.map((part) => part.range)).toEqual([
          `bytes 0-9/${ORIGINAL.length}`,
          `bytes 700000-700000/${ORIGINAL.length}`,
          `bytes 500-599/${ORIGINAL.length}`,
        ]);
        expect(parts.every((part) => part.type === 'image/jpeg')).toBe(true);
        expect(
          Buffer.concat(parts.map((part) => part.body)).equals(
            Buffer.concat([
              ORIGINAL.subarray(0, 10),
              ORIGINAL.subarray(700_000),
              ORIGINAL.subarray(500, 600),
            ]),
          ),
        ).toBe(true);
      });

      it(`are slices: ${GENERATED_RANGES} generated ones`, { timeout: 60_000 }, async () => {
        const random = createRandom(20_261_121);
        const sources = [
          { path: `/media/${photo}?variant=original`, bytes: ORIGINAL },
          { path: `/media/${photo}`, bytes: WEBP },
          { path: `/media/${photo}/${avif.name}`, bytes: AVIF },
        ];
        let next = 0;
        const failures: string[] = [];
        const run = async () => {
          while (next < GENERATED_RANGES) {
            const { path, bytes } = sources[next % sources.length] as (typeof sources)[number];
            next += 1;
            const first = random.below(bytes.length);
            // Short and long ones, open and suffix ones, some beyond the end.
            const length = random.chance(0.5) ? 1 + random.below(64) : 1 + random.below(bytes.length);
            const kind = random.below(4);
            const [range, slice] =
              kind === 0
                ? [`${first}-`, bytes.subarray(first)]
                : kind === 1
                  ? [`-${length}`, bytes.subarray(-length)]
                  : [`${first}-${first + length - 1}`, bytes.subarray(first, first + length)];
            const reply = await get(path, { Range: `bytes=${range}` });
            const start = bytes.length - (kind === 1 ? slice.length : bytes.length - first);
            const contentRange = `bytes ${start}-${start + slice.length - 1}/${bytes.length}`;
            const isRight =
              reply.status === 206 &&
              reply.body.equals(slice) &&
              reply.headers['content-range'] === contentRange &&
              reply.headers['content-length'] === String(slice.length);
            if (!isRight)
              failures.push(`${path} ${range}: ${reply.status} ${reply.headers['content-range']}`);
          }
        };
        await Promise.all(Array.from({ length: 8 }, run));
        expect(failures).toEqual([]);
      });
    });

    it('stops reading when the client goes away', async () => {
      const id = await server.upload(randomBytes(12_000_000));
      const { store } = server.backend;
      const open = vi.spyOn(store, 'openOriginal');
      const socket = await connectRaw(Number(new URL(server.origin).port));
      socket.write(`GET /media/${id}?mode=download HTTP/1.1\r\nHost: x\r\n\r\n`);
      // It takes the first bytes and no more: the rest waits in front of the socket, not in memory.
      await new Promise((resolve) => socket.once('data', resolve));
      socket.pause();
      await vi.waitFor(() => expect(open).toHaveBeenCalledTimes(1), { timeout: 10_000 });
      const reader = await open.mock.results[0]?.value;
      const close = vi.spyOn(reader, 'close');
      await sleep(50);
      expect(close).not.toHaveBeenCalled();
      socket.destroy();
      await vi.waitFor(() => expect(close).toHaveBeenCalled(), { timeout: 10_000 });
      open.mockRestore();
    });

    it('shows in the API what there is, and where', async () => {
      const reply = await get(`/uploads/${photo}`);
      const { media } = JSON.parse(reply.body.toString());
      expect(media).toMatchObject({
        type: 'image/jpeg',
        width: 6000,
        height: 4000,
        placeholder: 'AAAA',
        missing: null,
        originalUrl: `/media/${photo}?variant=original`,
        urlsExpireAt: null,
        ratio: WEBP.length / ORIGINAL.length,
      });
      expect(media.previews).toHaveLength(3);
      expect(media.previews[0]).toEqual({
        variant: 'preview',
        contentType: 'image/webp',
        size: WEBP.length,
        width: 1800,
        height: 1200,
        url: `/media/${photo}/${webp.name}`,
      });
      for (const preview of media.previews) {
        expect((await get(preview.url)).body).toHaveLength(preview.size);
      }
    });

    it('gives out URLs for many at once', async () => {
      const body = JSON.stringify({ ids: [photo, document], variant: 'original' });
      const reply = await request(
        'POST',
        `${server.origin}/media/urls`,
        { 'Content-Type': 'application/json' },
        body,
      );
      expect(reply.status).toBe(200);
      expect(JSON.parse(reply.body.toString())).toEqual({
        urls: [photo, document].map((id) => ({
          id,
          variant: 'original',
          url: `/media/${id}?variant=original`,
          expiresAt: null,
        })),
      });
    });
  });
}

/** The parts of a multipart/byteranges answer. */
function partsOf(reply: HttpReply): { type: string; range: string; body: Buffer }[] {
  const boundary = /boundary=(.+)$/.exec(reply.headers['content-type'] ?? '')?.[1];
  const text = reply.body.toString('latin1');
  return text
    .split(`--${boundary}`)
    .slice(1, -1)
    .map((part) => {
      const [head = '', ...rest] = part.split('\r\n\r\n');
      return {
        type: /Content-Type: (.+)/.exec(head)?.[1]?.trim() ?? '',
        range: /Content-Range: (.+)/.exec(head)?.[1]?.trim() ?? '',
        body: Buffer.from(rest.join('\r\n\r\n').slice(0, -2), 'latin1'),
      };
    });
}
