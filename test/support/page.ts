import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CreateBucketCommand, PutBucketCorsCommand, S3Client } from '@aws-sdk/client-s3';
import type { Page } from 'playwright-core';
import { s3Access } from './s3-environment.ts';
import type { S3Service } from './services.ts';

/** Builds the browser page as `npm start` does; at once where nothing changed. */
export async function buildPage(): Promise<void> {
  await promisify(execFile)(process.execPath, [join(import.meta.dirname, '../../web/build.ts')]);
}

/** Settings of a server over a bucket of its own, to which pages may write. */
export async function directSettings(s3: S3Service): Promise<Record<string, string>> {
  const { accessKeyId, secretAccessKey } = s3;
  const bucket = `page-${randomBytes(6).toString('hex')}`;
  const client = new S3Client({
    endpoint: s3.endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  await client.send(
    new PutBucketCorsCommand({
      Bucket: bucket,
      CORSConfiguration: {
        CORSRules: [
          {
            AllowedOrigins: ['*'],
            AllowedMethods: ['GET', 'PUT', 'POST'],
            AllowedHeaders: ['*'],
            ExposeHeaders: ['ETag'],
          },
        ],
      },
    }),
  );
  client.destroy();
  return { ...s3Access(s3), LANDFALL_S3_BUCKET: bucket };
}

/** What a page complained about: errors of its scripts, and of the console (a refused script, a failed request). */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  return complaints;
}

/** Chooses files as somebody does who clicks on "browse files". */
export async function chooseFiles(page: Page, paths: string | string[]): Promise<void> {
  await page.locator('input.uppy-Dashboard-input').first().setInputFiles(paths);
}

export async function startUpload(page: Page): Promise<void> {
  await page.locator('.uppy-StatusBar-actionBtn--upload').click();
}

/** Waits until the list says that this upload is in this state. */
export async function waitForState(page: Page, filename: string, state: string): Promise<void> {
  const row = page.locator('li.upload').filter({ has: page.getByRole('heading', { name: filename }) });
  await row.locator(`.state[data-state="${state}"]`).waitFor({ timeout: 45_000 });
}
