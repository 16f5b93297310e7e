import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { launchBrowser } from '../support/browser.ts';
import { buildPage, chooseFiles, directSettings, startUpload, waitForState } from '../support/page.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* The page at `/` in a real Chromium: uploads by its dashboard, over files and straight to a bucket. */

vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 });

const SIZE = 24_000_007;
const content = randomBytesOf('the browser page', SIZE);
const contentSha256 = sha256Hex(content);
/** An upload of SIZE bytes takes some seconds then, by three connections. */
const SLOW_BYTES_PER_SECOND = 2_000_000;

let directory: string;
let contentPath: string;
let browser: Browser;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-page-'));
  contentPath = join(directory, 'a film.bin');
  await writeFile(contentPath, content);
  await buildPage();
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await rm(directory, { recursive: true, force: true });
});

interface ListedUpload {
  id: string;
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

/** The one upload that the server has, and that it is exactly what was chosen. */
async function expectStored(origin: string): Promise<ListedUpload> {
  const [upload, ...others] = (await listUploads(origin)).filter(({ state }) => state === 'ready');
  expect(others).toEqual([]);
  const { status, body } = await request('GET', `${origin}${upload?.url}`);
  expect(status).toBe(200);
  expect(sha256Hex(body)).toBe(contentSha256);
  expect(upload).toMatchObject({ sha256: contentSha256, declaredSha256: contentSha256 });
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
  const bar = page.locator('li.upload progress');
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
    await page.close();
  });
});

describe('over S3', () => {
  let relay: Relay;
  let settings: Record<string, string>;
  let server: RunningServer;
  beforeAll(async () => {
    const s3 = inject('s3');
    relay = await startRelay(Number(new URL(s3.endpoint).port), SLOW_BYTES_PER_SECOND);
    settings = await directSettings(s3, `http://127.0.0.1:${relay.port}`);
  });
  afterAll(() => relay?.close());

  /** A new server over a corner of the bucket that nobody else uses. */
  async function openPage(name: string): Promise<{ page: Page; sent: string[] }> {
    server = await startServer({ env: { ...settings, LANDFALL_S3_PREFIX: name } });
    const page = await (await browser.newContext()).newPage();
    const sent = watchBytes(page);
    await page.goto(server.origin);
    return { page, sent };
  }

  async function close(page: Page): Promise<void> {
    await page.context().close();
    await server.stop();
  }

  it('sends straight to the bucket', async () => {
    const { page, sent } = await openPage('straight');
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForState(page, 'a film.bin', 'ready');
    const { transfer } = await expectStored(server.origin);
    expect(new Set(sent)).toEqual(new Set([`PUT ${settings.LANDFALL_S3_ENDPOINT}`]));
    expect(sent).toHaveLength(Math.ceil(SIZE / (5 * 1024 * 1024)));
    expect(transfer.requests).toBe(0);
    await close(page);
  });

  it('goes on where it was after the page was loaded again and the file chosen again', async () => {
    const { page, sent } = await openPage('reload');
    await chooseFiles(page, contentPath);
    await startUpload(page);
    // Three parts of five at once: by now they are stored.
    await waitForProgress(page, 75);
    await page.reload();
    sent.length = 0;
    // Larger than what Golden Retriever keeps: Uppy knows the file, and asks for it.
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForState(page, 'a film.bin', 'ready');
    await expectStored(server.origin);
    expect(sent.length).toBeLessThanOrEqual(2);
    await close(page);
  });

  it('waits while there is no network, and goes on', async () => {
    const { page, sent } = await openPage('offline');
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForProgress(page, 30);
    await page.context().setOffline(true);
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
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForState(page, 'a film.bin', 'ready');
    await expectStored(server.origin);
    expect(new Set(sent)).toEqual(new Set([`PATCH ${server.origin}`]));
    await close(page);
  });

  it('falls back to tus when the bucket refuses the page', async () => {
    const { page, sent } = await openPage('cors');
    await page.route(`${settings.LANDFALL_S3_ENDPOINT}/**`, (route) => route.abort());
    await chooseFiles(page, contentPath);
    await startUpload(page);
    await waitForState(page, 'a film.bin', 'ready');
    await expectStored(server.origin);
    expect(sent).toContain(`PATCH ${server.origin}`);
    await close(page);
  });
});
