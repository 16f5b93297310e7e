import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { launchBrowser, type ServedPage, servePage } from '../support/browser.ts';
import { startRelay } from '../support/relay.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { head, request } from '../support/tus.ts';

/* Uppy from npm with its Tus plugin and `parallelUploads: 4`, on a page of another origin in a real Chromium. */

vi.setConfig({ testTimeout: 60_000 });

const SIZE = 40_000_003;
const content = randomBytesOf('uppy parallel uploads', SIZE);
const contentSha256 = sha256Hex(content);

let directory: string;
let contentPath: string;
let browser: Browser;
let site: ServedPage;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-uppy-tus-'));
  contentPath = join(directory, 'a film.bin');
  await writeFile(contentPath, content);
  site = await servePage(
    join(import.meta.dirname, 'pages/uppy-tus.ts'),
    '<label>File <input type="file"></label><output></output>',
  );
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  await rm(directory, { recursive: true, force: true });
});

/** A page that uploads what is chosen on it to this endpoint. */
async function openPage(endpoint: string): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`${site.url}?endpoint=${encodeURIComponent(endpoint)}`);
  return page;
}

async function chooseFile(page: Page): Promise<void> {
  await page.locator('input').setInputFiles(contentPath);
}

/** The upload's address as the page learnt it, or what went wrong. */
async function result(page: Page): Promise<string> {
  const output = page.locator('output:not(:empty)');
  await output.waitFor({ timeout: 45_000 });
  return output.innerText();
}

async function expectStored(url: string): Promise<void> {
  const reply = await request('GET', url);
  expect(reply.status).toBe(200);
  expect(sha256Hex(reply.body)).toBe(contentSha256);
  expect(reply.headers['content-disposition']).toContain('a film.bin');
  expect((await head(url)).headers['upload-concat']).toMatch(/^final;\S+ \S+ \S+ \S+$/);
}

describe.each([
  ['files', () => ({})],
  ['S3', () => s3Environment(inject('s3'), { prefix: 'uppy-tus/' })],
] as const)('over %s', (_name, settings) => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer({ env: settings() });
  });
  afterAll(() => server?.stop());

  it('arrives exactly', async () => {
    const page = await openPage(server.filesUrl);
    await chooseFile(page);
    await expectStored(await result(page));
    await page.close();
  });

  it('is resumed after the page was loaded again in the middle', async () => {
    const relay = await startRelay(Number(new URL(server.origin).port), 5_000_000);
    const page = await openPage(`http://127.0.0.1:${relay.port}/files`);
    await chooseFile(page);
    await page.waitForFunction("Number(document.querySelector('output').dataset.percent) >= 40");
    await page.reload();
    const requests: string[] = [];
    page.on('request', (req) => {
      requests.push(`${req.method()} ${req.headers()['upload-concat'] ?? ''}`);
    });
    await chooseFile(page);
    await expectStored(await result(page));
    // Each of the four goes on where it was, and no new one is made.
    expect(requests.filter((line) => line.startsWith('HEAD'))).toHaveLength(4);
    expect(requests).not.toContain('POST partial');
    await page.close();
    await relay.close();
  });
});
