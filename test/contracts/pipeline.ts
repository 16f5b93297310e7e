import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MediaInfo, StoredPreview } from '../../stores/media-info.ts';
import { sha256Hex } from '../faults/random.ts';
import { heicOf, hevcOfMp4 } from '../support/heic.ts';
import { pdfOfPages } from '../support/pdf.ts';
import { differenceOf, readPicture } from '../support/pictures.ts';
import { until } from '../support/redis.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';
import { makeVideo } from '../support/videos.ts';

/** A server, or several, behind one address. */
export interface PipelineTarget {
  filesUrl: string;
  /** Names of everything that is kept of an upload: its bytes, and its previews. */
  storedOf(id: string): Promise<{ original: string[]; previews: string[] }>;
  close(): Promise<void>;
}

export type StartPipeline = (env: Record<string, string>) => Promise<PipelineTarget>;

/** An upload as `GET /uploads/:id` shows it, as far as it is looked at here. */
interface ShownUpload {
  state: string;
  sha256: string | null;
  reason: { code: string; message: string } | null;
  expiresAt: string | null;
  media:
    | (Omit<MediaInfo, 'previews'> & { previews: (StoredPreview & { url: string })[]; ratio: number })
    | null;
}

const SETTLE_MS = 60_000;

/** What becomes of finished uploads, through the real program. */
export function describePipeline(name: string, start: StartPipeline): void {
  describe(`after the last byte, ${name}`, () => {
    let target: PipelineTarget;
    let directory: string;
    let largePhoto: Buffer;
    beforeAll(async () => {
      largePhoto = await photograph(6000, 4000);
      directory = await mkdtemp(join(tmpdir(), 'landfall-pipeline-'));
      target = await start({});
    });
    afterAll(async () => {
      await target.close();
      await rm(directory, { recursive: true, force: true });
    });

    async function upload(content: Buffer, to = target, headers: Record<string, string> = {}) {
      const url = await createUpload(to.filesUrl, content.length, headers);
      expect((await patch(url, 0, content)).status).toBe(204);
      return url;
    }

    async function ended(url: string): Promise<ShownUpload> {
      let shown: ShownUpload | undefined;
      await until(async () => {
        shown = await show(url);
        return ['ready', 'rejected', 'failed'].includes(shown.state);
      }, SETTLE_MS);
      return shown as ShownUpload;
    }

    async function read(url: string, preview: { url: string }): Promise<Buffer> {
      const reply = await request('GET', new URL(preview.url, url).href);
      expect(reply.status).toBe(200);
      return reply.body;
    }

    it('a photograph of 24 megapixels, taken with the camera on its side', async () => {
      const photo = largePhoto;
      const url = await upload(photo);
      const { state, media } = await ended(url);
      expect(state).toBe('ready');
      expect(media).toMatchObject({ type: 'image/jpeg', width: 4000, height: 6000, missing: null });
      expect(media?.processing).toMatchObject({ attempts: 1, queuedMs: expect.any(Number) });
      expect(media?.processing?.cpuMs).toBeGreaterThan(0);
      expect(media?.processing?.peakMemoryBytes).toBeGreaterThan(1024 ** 2);
      expect(media?.ratio).toBeLessThan(0.4);
      const preview = only(media, 'preview');
      expect(preview).toMatchObject({ contentType: 'image/webp', width: 1200, height: 1800 });
      const bytes = await read(url, preview);
      const reference = await sharp(photo).rotate().resize(1200, 1800).png().toBuffer();
      expect(differenceOf(await readPicture(bytes), await readPicture(reference))).toBeLessThan(0.02);
      expect(Math.max(only(media, 'thumb').width ?? 0, only(media, 'thumb').height ?? 0)).toBe(320);
      expect((await request('GET', url)).body.equals(photo)).toBe(true);
    }, 90_000);

    it('a picture with transparent parts', async () => {
      const pixels = Buffer.alloc(600 * 400 * 4);
      for (let at = 0; at < pixels.length; at += 4) {
        if ((at / 4) % 600 >= 200) pixels.set([0, 128, 0, 128], at);
      }
      const png = await sharp(pixels, { raw: { width: 600, height: 400, channels: 4 } })
        .png()
        .toBuffer();
      const url = await upload(png);
      const { media } = await ended(url);
      const picture = await readPicture(await read(url, only(media, 'preview')));
      expect([picture.width, picture.height]).toEqual([600, 400]);
      expect(picture.pixels[3]).toBe(0);
      expect(picture.pixels.at(-1)).toBe(128);
      expect(differenceOf(picture, await readPicture(png))).toBeLessThan(0.01);
    }, 60_000);

    it('an animation', async () => {
      const gif = await animation(['#ff0000', '#00ff00', '#0000ff', '#ffff00']);
      const url = await upload(gif);
      const { media } = await ended(url);
      expect(media).toMatchObject({ type: 'image/gif', frames: 4 });
      const preview = only(media, 'preview');
      const made = await sharp(await read(url, preview), { animated: true }).metadata();
      expect([made.pages, made.format]).toEqual([4, 'webp']);
    }, 60_000);

    it('a document of 40 pages', async () => {
      const pages = Array.from({ length: 40 }, (_, index) => ({
        width: 400,
        height: 300,
        rectangles: [{ color: [200, 0, 0] as const, x: index * 10, y: 0, width: 10, height: 300 }],
      }));
      const url = await upload(pdfOfPages(pages));
      const { state, media } = await ended(url);
      expect([state, media?.type, media?.pages]).toEqual(['ready', 'application/pdf', 40]);
      const shown = media?.previews.filter(({ variant }) => variant === 'page') ?? [];
      expect(shown.map(({ page }) => page)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      const third = shown[2] as (typeof shown)[number];
      const picture = await readPicture(await read(url, third));
      const across = picture.width / 400;
      const at = (x: number) => [...picture.pixels.subarray(Math.round(x * across) * 4).subarray(0, 3)];
      expect(at(5)).toEqual([255, 255, 255]);
      expect(at(25)[0]).toBeGreaterThan(180);
      expect(at(25)[1]).toBeLessThan(40);
    }, 60_000);

    it('a video of a minute', async () => {
      const path = await makeVideo(directory, 'minute.mp4', [
        ...['-f', 'lavfi', '-i', 'testsrc=duration=60:size=320x240:rate=5'],
        ...['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p'],
      ]);
      const url = await upload(await readFile(path));
      const { state, media } = await ended(url);
      expect([state, media?.type]).toEqual(['ready', 'video/mp4']);
      expect(media?.durationMs).toBeGreaterThan(59_000);
      expect(media?.durationMs).toBeLessThan(61_000);
      expect([media?.width, media?.height]).toEqual([320, 240]);
      const poster = await sharp(await read(url, only(media, 'poster'))).metadata();
      expect([poster.width, poster.height]).toEqual([320, 240]);
    }, 90_000);

    it('a picture in HEIC', async () => {
      const path = await makeVideo(directory, 'one.mp4', [
        ...['-f', 'lavfi', '-i', 'color=c=red:size=320x240:rate=1', '-frames:v', '1'],
        ...['-c:v', 'libx265', '-x265-params', 'log-level=none', '-pix_fmt', 'yuv420p', '-tag:v', 'hvc1'],
      ]);
      const url = await upload(heicOf(hevcOfMp4(await readFile(path), 320, 240)));
      const { state, media } = await ended(url);
      expect([state, media?.type, media?.missing]).toEqual(['ready', 'image/heic', null]);
      const picture = await readPicture(await read(url, only(media, 'preview')));
      expect([picture.width, picture.height]).toEqual([320, 240]);
      expect(picture.pixels[0]).toBeGreaterThan(230);
      expect(picture.pixels[1]).toBeLessThan(40);
    }, 60_000);

    it('a text, and nothing at all: ready with the last byte', async () => {
      const url = await upload(Buffer.from('words, words, words'));
      expect(await show(url)).toMatchObject({
        state: 'ready',
        media: { type: null, previews: [], missing: null },
      });
      const empty = await createUpload(target.filesUrl, 0);
      expect(await show(empty)).toMatchObject({ state: 'ready', media: { previews: [] } });
    });

    it('a file that is broken: ready, with the reason why there is no preview', async () => {
      const photo = await photograph(1200, 800);
      const url = await upload(photo.subarray(0, photo.length / 3));
      const { state, media } = await ended(url);
      expect([state, media?.previews]).toEqual(['ready', []]);
      expect(media?.missing).toMatchObject({ code: 'corrupt', message: expect.any(String) });
      expect(media?.processing).toMatchObject({ attempts: 1 });
    }, 60_000);

    it('the previews of a deleted upload are deleted with it', async () => {
      const url = await upload(await photograph(400, 300));
      expect((await ended(url)).state).toBe('ready');
      const before = await target.storedOf(idOf(url));
      expect(before.previews).toContain('manifest.json');
      expect(before.previews.length).toBe(3);
      expect((await request('DELETE', url, TUS)).status).toBe(204);
      expect(await target.storedOf(idOf(url))).toEqual({ original: [], previews: [] });
    }, 60_000);

    it('a digest that is not declared, or right: the original is served before its previews are there', async () => {
      const photo = largePhoto;
      const right = { 'Repr-Digest': `sha-256=:${Buffer.from(sha256Hex(photo), 'hex').toString('base64')}:` };
      for (const headers of [{}, right]) {
        const url = await upload(photo, target, headers);
        const reply = await request('GET', url);
        expect([reply.status, reply.body.equals(photo)]).toEqual([200, true]);
        expect(await ended(url)).toMatchObject({ state: 'ready', media: { missing: null } });
      }
    }, 120_000);

    const WRONG = { 'Repr-Digest': `sha-256=:${Buffer.alloc(32).toString('base64')}:` };

    async function expectRejected(url: string): Promise<void> {
      const shown = await ended(url);
      expect(shown).toMatchObject({
        state: 'rejected',
        reason: { code: 'checksum_mismatch', message: expect.stringContaining('SHA-256') },
      });
      const origin = new URL(url).origin;
      for (const address of [
        url,
        `${origin}/media/${idOf(url)}`,
        `${origin}/media/${idOf(url)}?variant=original`,
      ]) {
        const reply = await request('GET', address);
        expect([reply.status, reply.body.toString()]).toEqual([410, expect.stringContaining('SHA-256')]);
      }
      expect((await head(url)).status).toBe(410);
      expect((await patch(url, 0, '')).status).toBe(410);
      expect((await request('DELETE', url, TUS)).status).toBe(410);
    }

    it('a digest that is wrong: rejected, served by nothing, and kept for who wants to know what came', async () => {
      const photo = await photograph(400, 300);
      const url = await upload(photo, target, WRONG);
      await expectRejected(url);
      expect((await show(url)).expiresAt).not.toBeNull();
      expect((await target.storedOf(idOf(url))).original).not.toEqual([]);
    }, 60_000);

    it('a digest that is wrong, compared before the answer: that is 460, and the evidence is removed in time', async () => {
      const strict = await start({
        LANDFALL_VERIFY_WHEN: 'before-response',
        LANDFALL_REJECTED_RETENTION: '0s',
        LANDFALL_SWEEP_INTERVAL: '50ms',
      });
      try {
        const content = Buffer.from('not what was declared');
        const url = await createUpload(strict.filesUrl, content.length, WRONG);
        const reply = await patch(url, 0, content);
        expect([reply.status, reply.headers['landfall-error']]).toEqual([460, 'checksum_mismatch']);
        expect(reply.body.toString()).toContain('SHA-256');
        const whole = await request(
          'POST',
          strict.filesUrl,
          { ...TUS, ...PATCH_TYPE, ...WRONG, 'Upload-Length': content.length },
          content,
        );
        expect(whole.status).toBe(460);
        await until(async () => (await strict.storedOf(idOf(url))).original.length === 0);
        await until(async () => (await show(url)).expiresAt === null);
        await expectRejected(url);
        const right = {
          'Repr-Digest': `sha-256=:${Buffer.from(sha256Hex(content), 'hex').toString('base64')}:`,
        };
        const good = await createUpload(strict.filesUrl, content.length, right);
        expect((await patch(good, 0, content)).status).toBe(204);
        expect((await request('GET', good)).body.equals(content)).toBe(true);
      } finally {
        await strict.close();
      }
    }, 60_000);
  });
}

function idOf(url: string): string {
  return url.slice(url.lastIndexOf('/') + 1);
}

async function show(url: string): Promise<ShownUpload> {
  const reply = await request('GET', `${new URL(url).origin}/uploads/${idOf(url)}`);
  return JSON.parse(reply.body.toString()) as ShownUpload;
}

function only(media: ShownUpload['media'], variant: string) {
  const found = media?.previews.filter((preview) => preview.variant === variant) ?? [];
  if (found.length !== 1) throw new Error(`there are ${found.length} previews called ${variant}`);
  return found[0] as (typeof found)[number];
}

/** Smooth light and fine grain, as a camera sees them; to be turned by a quarter. */
async function photograph(width: number, height: number): Promise<Buffer> {
  const grain = await sharp({
    create: {
      width: Math.ceil(width / 4),
      height: Math.ceil(height / 4),
      channels: 3,
      background: '#000',
      noise: { type: 'gaussian', mean: 120, sigma: 40 },
    },
  })
    .blur(4)
    .png({ compressionLevel: 1 })
    .toBuffer();
  return sharp(grain).resize(width, height).jpeg({ quality: 92 }).withMetadata({ orientation: 6 }).toBuffer();
}

async function animation(colors: readonly string[]): Promise<Buffer> {
  const frames = colors.map((background) =>
    sharp({ create: { width: 64, height: 48, channels: 3, background } })
      .png()
      .toBuffer(),
  );
  return sharp(await Promise.all(frames), { join: { animated: true } })
    .gif({ delay: colors.map(() => 100) })
    .toBuffer();
}
