import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { sha256Hex } from '../faults/random.ts';
import { launchBrowser, type ServedPage, servePage } from '../support/browser.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/*
 * `landfall/browser` and `landfall/react` as they are published (JavaScript and declarations), in an application of
 * somebody else: another project, and a page of another origin.
 */

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const ROOT = join(import.meta.dirname, '../..');
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');
const run = promisify(execFile);

let directory: string;
let browser: Browser;
let server: RunningServer;
let site: ServedPage;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-modules-'));
  await installPackage();
  await cp(join(import.meta.dirname, 'pages/react-app.ts'), join(directory, 'app.ts'));
  site = await servePage(join(directory, 'app.ts'), '');
  server = await startServer();
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
  await site?.close();
  await rm(directory, { recursive: true, force: true });
});

/** The package as its consumers have it, with the packages that it needs beside it. */
async function installPackage(): Promise<void> {
  const modules = join(directory, 'node_modules');
  const own = join(modules, 'landfall');
  await mkdir(own, { recursive: true });
  await cp(join(ROOT, 'package.json'), join(own, 'package.json'));
  const outDir = join(own, 'web/dist/modules');
  await run(process.execPath, [TSC, '-p', 'web/tsconfig.modules.json', '--outDir', outDir], { cwd: ROOT });
  await mkdir(join(modules, '@types'));
  for (const name of [
    'react',
    'react-dom',
    '@types/react',
    '@types/react-dom',
    'hash-wasm',
    'tus-js-client',
  ]) {
    await symlink(join(ROOT, 'node_modules', name), join(modules, name));
  }
}

it('its declarations are good for a strict project of somebody else', async () => {
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    target: 'ES2023',
    module: 'ESNext',
    moduleResolution: 'bundler',
    lib: ['ES2023', 'DOM', 'DOM.Iterable'],
    types: [],
  };
  await writeFile(join(directory, 'package.json'), JSON.stringify({ type: 'module' }));
  await writeFile(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['app.ts'] }));
  await expect(run(process.execPath, [TSC, '-p', directory])).resolves.toMatchObject({ stdout: '' });
});

it('uploads, follows what becomes of it, and offers the original with its size', async () => {
  const picture = await sharp({
    create: {
      width: 1200,
      height: 900,
      channels: 3,
      background: '#3070b0',
      noise: { type: 'gaussian', mean: 128, sigma: 30 },
    },
  })
    .jpeg({ quality: 95 })
    .toBuffer();
  const path = join(directory, 'sea.jpg');
  await writeFile(path, picture);
  const page = await browser.newPage();
  await page.goto(`${site.url}?server=${encodeURIComponent(server.origin)}`);
  await page.getByLabel('Files').setInputFiles(path);
  const upload = page.getByRole('region', { name: 'sea.jpg' });
  await page.locator('section[data-status="done"][data-media="ready"]').waitFor();
  const preview = upload.getByRole('img');
  await preview.waitFor();
  expect(await preview.getAttribute('src')).toMatch(new RegExp(`^${server.origin}/media/.+`));
  const button = upload.getByRole('link');
  expect(await button.innerText()).toBe(`Download original (${Math.round(picture.length / 1000)} kB)`);
  const original = await request('GET', (await button.getAttribute('href')) ?? '');
  expect(sha256Hex(original.body)).toBe(sha256Hex(picture));
  await page.close();
});
