import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bundleScript, launchBrowser } from '../support/browser.ts';
import { chooseFiles, complaintsOf, startUpload, waitForState } from '../support/page.ts';
import { buildPdf, pdfStream } from '../support/pdf.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* The pages for everybody: without a mouse, without eyes, in the dark, on a phone; and the gallery. */

vi.setConfig({ testTimeout: 60_000, hookTimeout: 90_000 });

const TOKEN = 'a-token-of-some-length';

let directory: string;
let browser: Browser;
let server: RunningServer;
let guarded: RunningServer;
let audit: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-access-'));
  audit = await bundleScript(join(import.meta.dirname, 'pages/audit.ts'));
  [browser, server, guarded] = await Promise.all([
    launchBrowser(),
    startServer(),
    startServer({ env: { LANDFALL_ADMIN_TOKEN: TOKEN } }),
  ]);
  await uploadSamples();
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
  await guarded?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Two pictures, a PDF of two pages and something that is none of these, by the page itself, in one group. */
async function uploadSamples(): Promise<void> {
  const blue = { create: { width: 900, height: 600, channels: 3, background: '#2060c0' } } as const;
  await sharp(blue).jpeg().toFile(join(directory, 'blue.jpg'));
  await sharp({ create: { ...blue.create, background: '#c06020' } })
    .png()
    .toFile(join(directory, 'orange.png'));
  await writeFile(join(directory, 'report.pdf'), twoPages());
  await writeFile(join(directory, 'notes.bin'), Buffer.alloc(1000, 7));
  const names = ['blue.jpg', 'orange.png', 'report.pdf', 'notes.bin'];
  const page = await browser.newPage();
  await page.goto(`${server.origin}/?group=Samples`);
  await chooseFiles(
    page,
    names.map((name) => join(directory, name)),
  );
  await startUpload(page);
  for (const name of names) await waitForState(page, name, 'ready');
  await page.close();
}

function twoPages(): Buffer {
  const page = '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 300] /Contents 5 0 R >>';
  return buildPdf([
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>',
    page,
    page,
    pdfStream('1 0 0 rg 50 50 100 100 re f'),
  ]);
}

async function findingsOf(page: Page): Promise<string[]> {
  await page.evaluate(audit);
  return page.evaluate('auditFindings');
}

const SCREENS: [string, BrowserContextOptions][] = [
  ['a desk', { viewport: { width: 1280, height: 900 } }],
  ['a desk in the dark', { viewport: { width: 1280, height: 900 }, colorScheme: 'dark' }],
  [
    'a phone',
    { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  ],
];

describe.each(SCREENS)('on %s', (_name, screen) => {
  it.each(['/', '/gallery?group=Samples'])('%s is fit for everybody', async (path) => {
    const context = await browser.newContext(screen);
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    await page.goto(server.origin + path);
    await page.getByText('blue.jpg').waitFor();
    expect(await findingsOf(page)).toEqual([]);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it('files that are chosen, and one that is refused, too', async () => {
    const context = await browser.newContext(screen);
    const page = await context.newPage();
    await page.goto(server.origin);
    await page.route('**/files', (route) => route.fulfill({ status: 413, body: 'Too large for us.' }));
    await chooseFiles(page, join(directory, 'blue.jpg'));
    await page.getByRole('button', { name: 'Upload 1 file' }).waitFor();
    expect(await findingsOf(page)).toEqual([]);
    await startUpload(page);
    await page.getByRole('alert').getByText('blue.jpg: Too large for us.').waitFor();
    expect(await findingsOf(page)).toEqual([]);
    await context.close();
  });
});

describe('with a keyboard alone', () => {
  it('the first stop leads past everything, and a preview opens, closes and gives the focus back', async () => {
    const page = await browser.newPage();
    await page.goto(server.origin);
    await page.getByText('blue.jpg').waitFor();
    await page.keyboard.press('Tab');
    expect(await page.locator(':focus').innerText()).toBe('Skip to the content');
    const button = page.getByRole('button', { name: 'Preview of report.pdf' });
    await button.focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'report.pdf' });
    await dialog.getByRole('img', { name: 'report.pdf, page 2' }).waitFor();
    expect(await findingsOf(page)).toEqual([]);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    expect(await page.locator(':focus').getAttribute('aria-label')).toBe('Preview of report.pdf');
    await page.close();
  });
});

describe('the gallery', () => {
  it('shows what has a picture, of its group alone, and goes from one to the next by arrow keys', async () => {
    const page = await browser.newPage();
    const complaints = complaintsOf(page);
    await page.goto(`${server.origin}/gallery?group=Samples`);
    const tiles = page.getByRole('button', { name: /^Open / });
    await tiles.first().waitFor();
    expect((await tiles.evaluateAll((all) => all.map((tile) => tile.ariaLabel))).sort()).toEqual([
      'Open blue.jpg',
      'Open orange.png',
      'Open report.pdf',
    ]);
    await tiles.first().click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('1 of 3').waitFor();
    const first = await dialog.getByRole('heading').innerText();
    await page.keyboard.press('ArrowRight');
    await dialog.getByText('2 of 3').waitFor();
    expect(await dialog.getByRole('heading').innerText()).not.toBe(first);
    await page.keyboard.press('ArrowLeft');
    await dialog.getByText('1 of 3').waitFor();
    expect(complaints).toEqual([]);

    await page.goto(`${server.origin}/gallery?group=Others`);
    await page.getByText('There is nothing to see here yet.').waitFor();
    await page.close();
  });

  it('gives out the original under its name', async () => {
    const page = await browser.newPage();
    await page.goto(`${server.origin}/gallery`);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'Download the original of orange.png' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('orange.png');
    await page.close();
  });
});

describe('where the operator API wants a token', () => {
  it('the page asks for it, says when it is wrong, keeps it for the tab, and shows own uploads without it', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(guarded.origin);
    await page.getByText('Token needed').waitFor();
    await chooseFiles(page, join(directory, 'blue.jpg'));
    await startUpload(page);
    await waitForState(page, 'blue.jpg', 'ready');

    await page.getByLabel('Operator token').fill('another-token-of-some-length');
    await page.keyboard.press('Enter');
    await page.getByText('The server does not take this token.').waitFor();
    await page.getByLabel('Operator token').fill(TOKEN);
    await page.keyboard.press('Enter');
    await page.getByText('Live', { exact: true }).waitFor();
    await page.goto(`${guarded.origin}/gallery`);
    await page.getByRole('button', { name: 'Open blue.jpg' }).waitFor();
    expect(page.url()).not.toContain(TOKEN);
    expect(await context.cookies()).toEqual([]);
    await context.close();
  });

  it('nobody else sees the list', async () => {
    expect((await request('GET', `${guarded.origin}/uploads`)).status).toBe(401);
    const page = await browser.newPage();
    await page.goto(`${guarded.origin}/gallery`);
    await page.getByText('This server shows its gallery to operators').waitFor();
    expect(await page.getByRole('button', { name: /^Open / }).count()).toBe(0);
    await page.close();
  });
});
