import { join } from 'node:path';
import type { Browser, Page, Route } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { sha256Hex } from '../faults/random.ts';
import { launchBrowser, type ServedPage, servePage } from '../support/browser.ts';
import { directSettings } from '../support/page.ts';
import { startRelay } from '../support/relay.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* `landfall/browser` on a page of another origin, by tus and straight to a bucket; what goes wrong is made to. */

vi.setConfig({ testTimeout: 30_000, hookTimeout: 60_000 });

const MIB = 1024 * 1024;
const BYTES = 12 * MIB;
const SLOW_BYTES_PER_SECOND = 8_000_000;

let browser: Browser;
let site: ServedPage;
let files: RunningServer;
let bucket: RunningServer;
beforeAll(async () => {
  [browser, site, files, bucket] = await Promise.all([
    launchBrowser(),
    servePage(join(import.meta.dirname, 'pages/uploader.ts'), ''),
    startServer(),
    directSettings(inject('s3')).then((env) => startServer({ env })),
  ]);
});
afterAll(async () => {
  await browser?.close();
  await files?.stop();
  await bucket?.stop();
  await site?.close();
});

async function openPage(server: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${site.url}?server=${encodeURIComponent(server)}`);
  return page;
}

interface Told {
  status: string;
  way: string;
  id: string;
  retries: number;
  sentBytes: number;
  isResumed: boolean;
  error: { code: string; message: string; status: number } | undefined;
}

async function tell<T = Told>(page: Page, story: string): Promise<T> {
  const told = (await page.evaluate(`stories.${story}`)) as T;
  await page.context().close();
  return told;
}

async function expectStored(server: RunningServer, id: string, name: string, bytes = BYTES): Promise<void> {
  await expect
    .poll(
      async () => JSON.parse((await request('GET', `${server.origin}/uploads/${id}`)).body.toString()).state,
    )
    .toBe('ready');
  const { body } = await request('GET', `${server.filesUrl}/${id}`);
  expect(sha256Hex(body)).toBe(sha256Hex(Buffer.alloc(bytes, name.length)));
}

/** Lets something go wrong with the first so many requests. */
function failing(times: number, fail: (route: Route) => Promise<void>): (route: Route) => Promise<void> {
  let left = times;
  return (route) => {
    left -= 1;
    return left >= 0 ? fail(route) : route.fallback();
  };
}

describe('by tus', () => {
  it('sends the file with the highest priority first, among equals the first that was added', async () => {
    const page = await openPage(files.origin);
    expect(await tell(page, 'priorities()')).toEqual(['high', 'low', 'first', 'second']);
  });

  it('pauses and goes on, and declares what it computed meanwhile', async () => {
    const relay = await startRelay(Number(new URL(files.origin).port), SLOW_BYTES_PER_SECOND);
    const page = await openPage(`http://127.0.0.1:${relay.port}`);
    const { paused, later, end, id, sha256 } = await tell<
      Record<'paused' | 'later' | 'end', Told> & Told & { sha256: string }
    >(page, `pause(${BYTES})`);
    expect(paused).toMatchObject({ status: 'paused', way: 'tus' });
    expect(later).toEqual(paused);
    expect(end).toMatchObject({ status: 'done', sentBytes: BYTES, retries: 0 });
    await expectStored(files, id, 'paused.bin');
    const shown = JSON.parse((await request('GET', `${files.origin}/uploads/${id}`)).body.toString());
    expect(shown).toMatchObject({ sha256, declaredSha256: sha256 });
    await relay.close();
  });

  it('removes from the server what was cancelled', async () => {
    const relay = await startRelay(Number(new URL(files.origin).port), SLOW_BYTES_PER_SECOND);
    const page = await openPage(`http://127.0.0.1:${relay.port}`);
    const told = (await page.evaluate(`stories.cancel(${BYTES})`)) as Told & { code: string };
    expect(told).toMatchObject({ code: 'cancelled', status: 'cancelled' });
    await expect
      .poll(
        async () =>
          (await request('HEAD', `${files.filesUrl}/${told.id}`, { 'Tus-Resumable': '1.0.0' })).status,
      )
      .toBe(410);
    await page.context().close();
    await relay.close();
  });

  it('says what the server has against a file, and does not insist', async () => {
    const page = await openPage(files.origin);
    let asked = 0;
    await page.route('**/files', (route) => {
      if (route.request().method() !== 'POST') return route.fallback();
      asked += 1;
      return route.fulfill({
        status: 413,
        headers: { 'access-control-allow-origin': '*' },
        body: 'The upload is larger than this server accepts.\n',
      });
    });
    const told = await tell(page, 'one(1000)');
    expect(told).toMatchObject({
      status: 'failed',
      error: { code: 'refused', status: 413, message: 'The upload is larger than this server accepts.' },
    });
    expect(asked).toBe(1);
  });

  it('tries again what failed, and when it is told to', async () => {
    const page = await openPage(files.origin);
    await page.route(
      '**/files/*',
      failing(1, (route) => route.abort()),
    );
    const told = await tell<Told & { code: string; failed: string }>(page, `retry(${BYTES})`);
    expect(told).toMatchObject({ code: 'network', failed: 'failed', isResumed: true });
    await expectStored(files, told.id, 'again.bin');
  });
});

/** So that an upload has a middle. */
async function slowDown(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: SLOW_BYTES_PER_SECOND,
  });
}

describe('straight to a bucket', () => {
  it('pauses and goes on without sending stored parts again', async () => {
    const page = await openPage(bucket.origin);
    await slowDown(page);
    const stored: (string | null)[] = [];
    page.on('requestfinished', (req) => {
      if (req.method() === 'PUT') stored.push(new URL(req.url()).searchParams.get('partNumber'));
    });
    const told = await tell<Record<'paused' | 'later' | 'end', Told> & Told>(page, `pause(${BYTES})`);
    expect(told.paused).toMatchObject({ status: 'paused', way: 'direct' });
    expect(told.end).toMatchObject({ status: 'done', sentBytes: BYTES });
    expect(stored.sort()).toEqual(['1', '2', '3']);
    await expectStored(bucket, told.id, 'paused.bin');
  });

  it('sends a part again that failed, by a new address when the old one has expired', async () => {
    const page = await openPage(bucket.origin);
    const signed: string[] = [];
    page.on('request', (req) => {
      if (req.url().includes('/batch?')) signed.push(req.url());
    });
    await page.route(
      (url) => url.searchParams.get('partNumber') === '2',
      failing(1, (route) =>
        route.fulfill({
          status: 403,
          headers: { 'access-control-allow-origin': '*' },
          body: 'Request has expired',
        }),
      ),
    );
    await page.route(
      (url) => url.searchParams.get('partNumber') === '3',
      failing(2, (route) =>
        route.fulfill({ status: 503, headers: { 'access-control-allow-origin': '*' }, body: 'SlowDown' }),
      ),
    );
    const told = await tell(page, `one(${BYTES})`);
    expect(told).toMatchObject({ status: 'done', way: 'direct', retries: 3, sentBytes: BYTES });
    expect(signed).toHaveLength(4);
    await expectStored(bucket, told.id, 'one.bin');
  });

  it('goes on without entity tags where the bucket does not expose them', async () => {
    const page = await openPage(bucket.origin);
    await page.route(
      (url) => url.searchParams.has('partNumber'),
      async (route) => {
        const answer = await route.fetch();
        const headers = { ...answer.headers(), 'access-control-expose-headers': 'X-Nothing' };
        await route.fulfill({ response: answer, headers });
      },
    );
    const told = await tell(page, `one(${BYTES})`);
    expect(told).toMatchObject({ status: 'done', way: 'direct' });
    await expectStored(bucket, told.id, 'one.bin');
  });

  it('completes an upload whose answer was lost', async () => {
    const page = await openPage(bucket.origin);
    await page.route(
      '**/complete?*',
      failing(1, async (route) => {
        await route.fetch();
        await route.abort();
      }),
    );
    const told = await tell(page, `one(${BYTES})`);
    expect(told).toMatchObject({ status: 'done', way: 'direct', retries: 1 });
    await expectStored(bucket, told.id, 'one.bin');
  });

  it('removes from the server what was cancelled', async () => {
    const page = await openPage(bucket.origin);
    await slowDown(page);
    const told = (await page.evaluate(`stories.cancel(${BYTES})`)) as Told & { code: string };
    expect(told).toMatchObject({ code: 'cancelled', status: 'cancelled' });
    await expect
      .poll(
        async () =>
          JSON.parse((await request('GET', `${bucket.origin}/uploads/${told.id}`)).body.toString()).state,
      )
      .toBe('aborted');
    await page.context().close();
  });

  it('goes by tus when the file is refused a direct upload, and not at all when no way would take it', async () => {
    const gone = await openPage(bucket.origin);
    await gone.route('**/s3/multipart', (route) =>
      route.fulfill({ status: 500, headers: { 'access-control-allow-origin': '*' }, body: '{}' }),
    );
    const told = await tell(gone, 'one(1000)');
    expect(told).toMatchObject({ status: 'done', way: 'tus' });
    await expectStored(bucket, told.id, 'one.bin', 1000);

    const refused = await openPage(bucket.origin);
    const body = JSON.stringify({ error: { code: 'size_limit', message: 'Too large.' } });
    await refused.route('**/s3/multipart', (route) =>
      route.fulfill({ status: 413, headers: { 'access-control-allow-origin': '*' }, body }),
    );
    expect(await tell(refused, 'one(1000)')).toMatchObject({
      status: 'failed',
      error: { code: 'refused', status: 413, message: 'Too large.' },
    });
  });
});
