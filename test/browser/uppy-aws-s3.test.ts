import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, PutBucketCorsCommand } from '@aws-sdk/client-s3';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest';
import { launchBrowser, type ServedPage, servePage } from '../support/browser.ts';
import { recordOf } from '../support/direct.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* Uppy from npm with its AwsS3 plugin, on a page of another origin in a real Chromium, straight to a real bucket. */

vi.setConfig({ testTimeout: 60_000 });

const content = randomBytes(12_345_678);

let directory: string;
let browser: Browser;
let site: ServedPage;
let corner: TestBucket;
let server: RunningServer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-uppy-s3-'));
  await writeFile(join(directory, 'a film.bin'), content);
  site = await servePage(
    join(import.meta.dirname, 'pages/uppy-aws-s3.ts'),
    '<label>File <input type="file"></label><output></output>',
  );
  corner = openTestBucket(inject('s3'));
  const bucket = `direct-${randomBytes(6).toString('hex')}`;
  await corner.client.send(new CreateBucketCommand({ Bucket: bucket }));
  // The rule of docs/direct.md.
  const rule = {
    AllowedOrigins: [new URL(site.url).origin],
    AllowedMethods: ['GET', 'PUT', 'POST'],
    AllowedHeaders: ['*'],
    ExposeHeaders: ['ETag'],
    MaxAgeSeconds: 3600,
  };
  await corner.client.send(
    new PutBucketCorsCommand({ Bucket: bucket, CORSConfiguration: { CORSRules: [rule] } }),
  );
  const env = { ...s3Environment(inject('s3'), corner), LANDFALL_S3_BUCKET: bucket };
  server = await startServer({ env });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  await server?.stop();
  await corner?.close();
  await rm(directory, { recursive: true, force: true });
});

/** The address that Uppy has in the end. */
async function upload(multipart: boolean): Promise<string> {
  const page = await browser.newPage();
  await page.goto(`${site.url}?endpoint=${encodeURIComponent(server.origin)}&multipart=${multipart}`);
  await page.locator('input').setInputFiles(join(directory, 'a film.bin'));
  const output = page.locator('output:not(:empty)');
  await output.waitFor({ timeout: 45_000 });
  const address = await output.innerText();
  await page.close();
  return address;
}

async function expectStored(id: string): Promise<void> {
  await expect.poll(async () => (await recordOf(server, id)).state, { timeout: 20_000 }).toBe('ready');
  expect(await recordOf(server, id)).toMatchObject({ filename: 'a film.bin', size: content.length });
  expect((await request('GET', `${server.filesUrl}/${id}`)).body.equals(content)).toBe(true);
}

it('a multipart upload', async () => {
  const address = await upload(true);
  expect(address).toMatch(`${server.filesUrl}/`);
  await expectStored(address.slice(address.lastIndexOf('/') + 1));
});

it('a file in one piece, of which nobody tells the server', async () => {
  const address = await upload(false);
  const id = /\/([A-Za-z0-9_-]+)\.direct$/.exec(address)?.[1];
  await expectStored(id as string);
});
