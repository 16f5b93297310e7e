import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { launchBrowser } from '../support/browser.ts';
import { chooseFiles, complaintsOf, directSettings, startUpload, waitForState } from '../support/page.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* The page at `/` in a real Chromium: uploads by its dashboard, over files and straight to a bucket. */

vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 });

const SIZE = 24_000_007;
const content = randomBytesOf('the browser page', SIZE);
/** Enough for two parts. */
const shortContent = content.subarray(0, 6_000_000);
/** An upload of SIZE bytes takes some seconds then, by three connections. */
const SLOW_BYTES_PER_SECOND = 3_000_000;

let directory: string;
let contentPath: string;
let shortPath: string;
let browser: Browser;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-page-'));
  contentPath = join(directory, 'a film.bin');
  await writeFile(contentPath, content);
  shortPath = join(directory, 'a short film.bin');
  await writeFile(shortPath, shortContent);
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await rm(directory, { recursive: true, force: true });
});

interface ListedUpload {
  id: string;
  filename: string;
  url: string;
  state: string;
  sha256: string | null;
  declaredSha256: string | null;
  transfer: { requests: number };
}

async function listUploads(origin: string): Promise<ListedUpload[]> {
  const { body } = await request('GET', `${origin}/uploads`);
  return JSON.parse(body.toString()).uploads;
}

async function summary(origin: string) {
  return JSON.parse((await request('GET', `${origin}/uploads/summary`)).body.toString());
}

/** The one upload that the server has, and that it is exactly what was chosen. */
async function expectStored(origin: string, sent: Buffer = content): Promise<ListedUpload> {
  const digest = sha256Hex(sent);
  const [upload, ...others] = (await listUploads(origin)).filter(({ state }) => state === 'ready');
  expect(others).toEqual([]);
  const { status, body } = await request('GET', `${origin}${upload?.url}`);
  expect(status).toBe(200);
  expect(sha256Hex(body)).toBe(digest);
  expect(upload).toMatchObject({ sha256: digest, declaredSha256: digest });
  return upload as ListedUpload;
}

/** Requests of a page with a body of the file, as `METHOD origin`. */
function watchBytes(page: Page): string[] {
  const sent: string[] = [];
  page.on('request', (req) => {
    const { origin, pathname } = new URL(req.url());
    const isPart = req.method() === 'PUT' || (req.method() === 'PATCH' && !pathname.startsWith('/uploads/'));
    if (isPart) sent.push(`${req.method()} ${origin}`);
  });
  return sent;
}

async function waitForProgress(page: Page, percent: number): Promise<void> {
  const bar = page.locator('li.upload progress:not([hidden])');
  await bar.waitFor();
  await expect
    .poll(async () => Number(await bar.getAttribute('value')), { timeout: 30_000, interval: 20 })
    .toBeGreaterThan(percent);
}

describe('over files', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server?.stop());

  it('uploads what is chosen, exactly, and shows it', async () => {
    const page = await browser.newPage();
    const complaints = complaintsOf(page);
    await page.goto(server.origin);
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForState(page, 'a film.bin', 'ready');
    await expectStored(server.origin);
    await page.getByText('SHA-256 verified').waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'Download the original of a film.bin' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('a film.bin');
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('uploads an empty file, verified as any other', async () => {
    const path = join(directory, 'nothing.txt');
    await writeFile(path, '');
    const page = await browser.newPage();
    await page.goto(server.origin);
    await chooseFiles(page, path);
    await startUpload(page);
    await waitForState(page, 'nothing.txt', 'ready');
    const stored = (await listUploads(server.origin)).find(({ filename }) => filename === 'nothing.txt');
    const digest = sha256Hex(Buffer.alloc(0));
    expect(stored).toMatchObject({ sha256: digest, declaredSha256: digest });
    await page.close();
  });

  it('brings back what was chosen when the page is loaded again, and goes on', async () => {
    const relay = await startRelay(Number(new URL(server.origin).port), SLOW_BYTES_PER_SECOND);
    const origin = `http://127.0.0.1:${relay.port}`;
    // Small enough for Golden Retriever to keep the bytes as well.
    const small = join(directory, 'a picture.bin');
    const bytes = content.subarray(0, 9_000_000);
    await writeFile(small, bytes);
    const page = await (await browser.newContext()).newPage();
    await page.goto(origin);
    await chooseFiles(page, small);
    await startUpload(page);
    await waitForProgress(page, 60);
    await page.reload();
    const created: string[] = [];
    page.on('request', (req) => {
      if (req.method() === 'POST' && req.url().endsWith('/files')) created.push(req.url());
    });
    await page.getByText('You can now resume the upload').waitFor();
    await startUpload(page);
    await waitForState(page, 'a picture.bin', 'ready');
    const stored = (await listUploads(server.origin)).find(({ filename }) => filename === 'a picture.bin');
    expect(sha256Hex((await request('GET', `${server.origin}${stored?.url}`)).body)).toBe(sha256Hex(bytes));
    expect(created).toEqual([]);
    await page.context().close();
    await relay.close();
  });
});

describe('over S3', () => {
  let relay: Relay;
  let slowEndpoint: string;
  let settings: Record<string, string>;
  let server: RunningServer;
  beforeAll(async () => {
    const s3 = inject('s3');
    relay = await startRelay(Number(new URL(s3.endpoint).port), SLOW_BYTES_PER_SECOND);
    slowEndpoint = `http://127.0.0.1:${relay.port}`;
    settings = await directSettings(s3);
  });
  afterAll(() => relay?.close());

  /** A new server over a corner of the bucket that nobody else uses. */
  async function openPage(
    name: string,
    endpoint = inject('s3').endpoint,
  ): Promise<{ page: Page; sent: string[]; complaints: string[] }> {
    const env = { ...settings, LANDFALL_S3_PREFIX: name, LANDFALL_S3_ENDPOINT: endpoint };
    server = await startServer({ env });
    const page = await (await browser.newContext()).newPage();
    const sent = watchBytes(page);
    const complaints = complaintsOf(page);
    await page.goto(server.origin);
    return { page, sent, complaints };
  }

  async function close(page: Page): Promise<void> {
    await page.context().close();
    await server.stop();
  }

  it('sends straight to the bucket', async () => {
    const { page, sent, complaints } = await openPage('straight');
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForState(page, 'a film.bin', 'ready');
    const { transfer } = await expectStored(server.origin);
    expect(new Set(sent)).toEqual(new Set([`PUT ${settings.LANDFALL_S3_ENDPOINT}`]));
    expect(sent).toHaveLength(Math.ceil(SIZE / (5 * 1024 * 1024)));
    expect(transfer.requests).toBe(0);
    expect(complaints).toEqual([]);
    const { direct } = await summary(server.origin);
    expect(direct).toMatchObject({
      byOutcome: { done: 1, failed: 0, fell_back: 0 },
      bytes: SIZE,
      retries: 0,
    });
    await close(page);
  });

  it('goes on where it was after the page was loaded again and the file chosen again', async () => {
    const { page, sent } = await openPage('reload', slowEndpoint);
    await chooseFiles(page, contentPath);
    await startUpload(page);
    // Three parts of five at once: by now they are stored.
    await waitForProgress(page, 75);
    await page.reload();
    sent.length = 0;
    // Larger than what Golden Retriever keeps: Uppy knows the file, and asks for it.
    await page.getByRole('button', { name: 'Re-select' }).click();
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForState(page, 'a film.bin', 'ready');
    await expectStored(server.origin);
    expect(sent.length).toBeLessThanOrEqual(2);
    await close(page);
  });

  it('waits while there is no network, and goes on', async () => {
    const { page, sent } = await openPage('offline', slowEndpoint);
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForProgress(page, 30);
    await page.context().setOffline(true);
    await page.getByText('No network').waitFor();
    await sleep(5000);
    await page.context().setOffline(false);
    await waitForState(page, 'a film.bin', 'ready');
    await expectStored(server.origin);
    expect(sent.some((line) => line.startsWith('PATCH'))).toBe(false);
    await close(page);
  });

  it('falls back to tus when nothing can be signed', async () => {
    const { page, sent } = await openPage('unsigned');
    await page.route('**/s3/multipart/*/batch**', (route) => route.fulfill({ status: 500, body: '{}' }));
    await chooseFiles(page, shortPath);
    await startUpload(page);
    await waitForState(page, 'a short film.bin', 'ready');
    await expectStored(server.origin, shortContent);
    expect(new Set(sent)).toEqual(new Set([`PATCH ${server.origin}`]));
    expect((await summary(server.origin)).direct.byOutcome).toMatchObject({ done: 0, fell_back: 1 });
    await close(page);
  });

  it('falls back to tus when the bucket refuses the page', async () => {
    const { page, sent } = await openPage('cors');
    await page.route(`${settings.LANDFALL_S3_ENDPOINT}/**`, (route) => route.abort());
    await chooseFiles(page, shortPath);
    await startUpload(page);
    await waitForState(page, 'a short film.bin', 'ready');
    await expectStored(server.origin, shortContent);
    expect(sent).toContain(`PATCH ${server.origin}`);
    await close(page);
  });
});
