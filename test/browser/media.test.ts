import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Page, Response } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { launchBrowser, type ServedPage, servePage } from '../support/browser.ts';
import { type MediaApp, startMediaApp } from '../support/media-app.ts';
import { openTestBucket } from '../support/s3-bucket.ts';
import { s3Environment, setKeysOfProcess } from '../support/s3-environment.ts';

/* A real Chromium shows what /media serves, on a page of another origin. */

vi.setConfig({ testTimeout: 60_000 });

const run = promisify(execFile);
const service = inject('s3');
const bucket = openTestBucket(service);
setKeysOfProcess(service);

let directory: string;
let film: Buffer;
let photo: Buffer;
let browser: Browser;
let site: ServedPage;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-film-'));
  film = await makeFilm(join(directory, 'film.mp4'));
  photo = await sharp({ create: { width: 60, height: 40, channels: 3, background: '#00ff00' } })
    .webp()
    .toBuffer();
  // The strictest page there is: it embeds only what says that it may be embedded.
  site = await servePage(join(import.meta.dirname, 'pages/media.ts'), '', {
    'cross-origin-embedder-policy': 'require-corp',
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  await bucket.close();
  await rm(directory, { recursive: true, force: true });
});

/** 40 s that are red, then green, then blue, then white; grain makes it too large to be loaded at once. */
async function makeFilm(path: string): Promise<Buffer> {
  const colors = ['red', '0x00ff00', 'blue', 'white'];
  const inputs = colors.flatMap((color) => ['-f', 'lavfi', '-i', `color=${color}:s=320x180:r=10:d=10`]);
  await run('ffmpeg', [
    ...['-loglevel', 'error', ...inputs, '-filter_complex', 'concat=n=4:v=1:a=0,noise=alls=60:allf=t'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', '-crf', '1', '-g', '10', '-pix_fmt', 'yuv420p'],
    ...['-movflags', '+faststart', path],
  ]);
  return readFile(path);
}

describe.each([
  ['files', {} as Record<string, string>],
  ['S3', s3Environment(service, bucket)],
])('media in Chromium: %s', (_name, env) => {
  let server: MediaApp;
  let page: Page;
  let responses: Response[];
  beforeAll(async () => {
    server = await startMediaApp(env);
  });
  afterAll(() => server.close());
  afterEach(() => page?.close());

  async function openPage(): Promise<void> {
    page = await browser.newPage();
    responses = [];
    page.on('response', (response) => responses.push(response));
  }

  /** Calls a function of the page (pages/media.ts). */
  const call = (name: string, ...args: unknown[]) => page.evaluate(`${name}(...${JSON.stringify(args)})`);

  it('a <video> seeks to and fro, and shows what is there', async () => {
    const id = await server.upload(film, { filename: 'film.mp4', filetype: 'video/mp4' });
    await openPage();
    await page.goto(site.url);
    const seen = await call('watch', `${server.origin}/media/${id}`, [35, 5, 25, 15]);
    expect(seen).toEqual({
      duration: 40,
      width: 320,
      colors: ['red green blue', 'red', 'blue', 'green'],
    });
    const parts = responses.filter((response) => response.url().includes('/media/'));
    expect(parts.length).toBeGreaterThan(1);
    expect(new Set(parts.map((response) => response.status()))).toEqual(new Set([206]));
    const starts = await Promise.all(
      parts.map(async (response) => (await response.headerValue('content-range')) ?? ''),
    );
    // It went there, and did not read its way.
    expect(starts.some((range) => Number(/bytes (\d+)-/.exec(range)?.[1]) > film.length / 2)).toBe(true);
  });

  it('a video can be opened by itself', async () => {
    const id = await server.upload(film, { filename: 'film.mp4', filetype: 'video/mp4' });
    await openPage();
    await page.goto(`${server.origin}/media/${id}`);
    await expect
      .poll(() => page.evaluate('document.querySelector("video")?.videoWidth'), { timeout: 10_000 })
      .toBe(320);
  });

  it('an <img> gets the preview, once', async () => {
    const id = await server.upload(Buffer.from('an original that nobody can show'), { filename: 'a.jpg' });
    const [preview] = await server.addPreviews(id, [
      { variant: 'preview', contentType: 'image/webp', bytes: photo },
    ]);
    await openPage();
    await page.goto(site.url);
    const url = `${server.origin}/media/${id}/${preview?.name}`;
    // Sizes are told to the page by Timing-Allow-Origin.
    expect(await call('show', url)).toMatchObject({ size: [60, 40], encodedBodySize: photo.length });
    expect(await call('show', `${server.origin}/media/${id}`)).toMatchObject({ size: [60, 40] });
    await page.reload();
    // From the cache: nothing was transferred.
    expect(await call('show', url)).toMatchObject({ size: [60, 40], transferSize: 0 });
  });

  it('an HTML file runs nowhere: it is saved', async () => {
    const html = '<script>document.title = "owned"</script>';
    const id = await server.upload(Buffer.from(html), { filename: 'x.html', filetype: 'text/html' });
    await openPage();
    const download = page.waitForEvent('download');
    await page.goto(`${server.origin}/media/${id}`).catch(() => undefined);
    expect((await download).suggestedFilename()).toBe('x.html');
    expect(await page.title()).not.toBe('owned');
  });
});
