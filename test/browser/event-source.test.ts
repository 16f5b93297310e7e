import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launchBrowser } from '../support/browser.ts';
import { freePort, until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, patch } from '../support/tus.ts';

/* A real Chromium follows an upload with EventSource, on a page of another origin. */

let browser: Browser;
let site: Server;

beforeAll(async () => {
  browser = await launchBrowser();
  site = createServer((_req, res) =>
    res.setHeader('content-type', 'text/html').end('<!doctype html><title>A page</title>'),
  );
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  await browser?.close();
  site?.close();
});

/** What the page heard, and how its EventSource is. */
async function follow(page: Page, url: string) {
  await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`);
  const types = ['state', 'created', 'received', 'ready', 'reset'];
  const handle = await page.evaluateHandle(
    ([address, names]) => {
      const source = new EventSource(address as string);
      const heard: string[] = [];
      for (const name of names as string[]) source.addEventListener(name, () => heard.push(name));
      return { source, heard };
    },
    [url, types],
  );
  return () =>
    handle.evaluate(({ source, heard }) => ({
      heard: [...heard],
      isOver: source.readyState === EventSource.CLOSED,
    }));
}

test('an EventSource outlives kill -9 of the server, misses nothing, and stops for good at the end', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'landfall-event-source-'));
  const port = await freePort();
  let server: RunningServer | undefined = await startServer({ port, dataDir });
  const page = await browser.newPage();
  try {
    // Something that is in the log before.
    const other = await createUpload(server.filesUrl, 5);
    await patch(other, 0, '01234');
    const url = await createUpload(server.filesUrl, 10);
    const id = new URL(url).pathname.split('/').at(-1);
    const look = await follow(page, `${server.origin}/uploads/${id}/events`);
    await until(async () => (await look()).heard.length === 1);
    await patch(url, 0, '01234');
    await server.stop('SIGKILL');
    server = await startServer({ port, dataDir });
    await patch(url, 5, '56789');
    await until(async () => (await look()).isOver, 20_000);
    const { heard } = await look();
    expect(heard.filter((name) => name !== 'state')).toEqual(['received', 'ready']);
    expect(heard[0]).toBe('state');
    expect(heard.at(-1)).toBe('state');
  } finally {
    await page.close();
    await server?.stop('SIGKILL');
    await rm(dataDir, { recursive: true, force: true });
  }
});
