import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openRequest } from '../support/raw-request.ts';
import { freePort, until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { openSse, type SseClient } from '../support/sse.ts';
import { createUpload, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * Events of the real program, on files and SQLite.
 */

const ADMIN = { Authorization: 'Bearer secret-of-the-operator' };
const ENV = { LANDFALL_ADMIN_TOKEN: 'secret-of-the-operator' };

let server: RunningServer;

beforeAll(async () => {
  server = await startServer({ env: ENV });
});
afterAll(async () => {
  await server.stop();
});

const idOf = (url: string) => new URL(url).pathname.split('/').at(-1) as string;
const eventsUrl = (id: string, { origin } = server) => `${origin}/uploads/${id}/events`;
/** But for progress, which depends on the clock. */
const typesOf = ({ events }: SseClient, id?: string) =>
  events
    .filter(({ event, data }) => event !== 'progress' && (id === undefined || data.uploadId === id))
    .map(({ event }) => event);

test('a page follows its upload from the first byte to the end, and is then told to come no more', async () => {
  const metadata = `filename ${Buffer.from('ü.txt').toString('base64')}`;
  const url = await createUpload(server.filesUrl, 10, { 'Upload-Metadata': metadata });
  const id = idOf(url);
  const page = await openSse(eventsUrl(id), { Origin: 'https://page.example' });
  expect(page.status).toBe(200);
  expect(page.headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'access-control-allow-origin': '*',
  });
  await until(() => page.events.length === 1);
  expect(page.events[0]).toMatchObject({
    event: 'state',
    data: { id, state: 'receiving', size: 10, offset: 0, filename: 'ü.txt' },
  });
  expect((await patch(url, 0, '01234')).status).toBe(204);
  expect((await patch(url, 5, '56789')).status).toBe(204);
  expect(await page.whenEnded).toBe('end');
  expect(typesOf(page)).toEqual(['state', 'received', 'ready', 'state']);
  expect(page.events.at(-2)?.data).toMatchObject({ uploadId: id, size: 10 });
  expect(page.events.at(-1)?.data).toMatchObject({ id, state: 'ready', offset: 10 });
  const again = await request('GET', eventsUrl(id), { 'Last-Event-ID': page.lastEventId() });
  expect(again.status).toBe(204);
});

test('progress is told while the bytes arrive', async () => {
  const url = await createUpload(server.filesUrl, 30);
  const page = await openSse(eventsUrl(idOf(url)));
  await until(() => page.events.length === 1);
  const headers = { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '0', 'Content-Length': '30' };
  const body = await openRequest('PATCH', url, headers);
  await body.write('0123456789');
  await until(() => page.events.length === 2);
  expect(page.events[1]).toMatchObject({ event: 'progress', data: { offset: 10, size: 30 } });
  expect(page.events[1]?.id).toBeUndefined();
  await body.write('0123456789');
  await until(() => page.events.length === 3);
  expect(page.events[2]?.data).toMatchObject({ offset: 20 });
  await sleep(600);
  expect(page.events).toHaveLength(3); // nothing new, nothing told
  body.end('0123456789');
  expect((await body.reply).status).toBe(204);
  expect(await page.whenEnded).toBe('end');
});

test('the operator follows all uploads, from where he was, also over kill -9', async () => {
  const port = await freePort();
  const dataDir = await mkdtemp(join(tmpdir(), 'landfall-events-'));
  const first = await startServer({ env: ENV, port, dataDir });
  let second: RunningServer | undefined;
  try {
    const operator = await openSse(`${first.origin}/events`, ADMIN);
    await until(() => operator.lastEventId() !== undefined);
    const aborted = await createUpload(first.filesUrl, 5);
    expect((await request('DELETE', aborted, TUS)).status).toBe(204);
    await until(() => operator.events.length === 2);
    expect(operator.events[1]?.data).toMatchObject({ reason: { code: 'deleted' } });
    operator.close();

    const later = await createUpload(first.filesUrl, 5);
    await patch(later, 0, '01234');
    await sleep(200); // a crash takes what was told in the last 50 ms
    await first.stop('SIGKILL');
    second = await startServer({ env: ENV, port, dataDir });
    const again = await openSse(`${second.origin}/events`, {
      ...ADMIN,
      'Last-Event-ID': operator.lastEventId(),
    });
    await until(() => typesOf(again, idOf(later)).length === 3);
    expect(typesOf(again, idOf(later))).toEqual(['created', 'received', 'ready']);
    expect(typesOf(again, idOf(aborted))).toEqual([]);

    const lost = await openSse(`${second.origin}/events`, { ...ADMIN, 'Last-Event-ID': '1-1' });
    await until(() => lost.events.length === 1);
    expect(lost.events[0]?.event).toBe('reset');
  } finally {
    await first.stop('SIGKILL');
    await second?.stop('SIGKILL');
    await rm(dataDir, { recursive: true, force: true });
  }
});

test('who may not list uploads may not follow all of them, and who has no upload follows none', async () => {
  const accept = { Accept: 'text/event-stream' };
  expect((await request('GET', `${server.origin}/events`, accept)).status).toBe(401);
  expect((await request('GET', eventsUrl('none'), accept)).status).toBe(404);
  const gone = await createUpload(server.filesUrl, 5);
  await request('DELETE', gone, TUS);
  const page = await openSse(eventsUrl(idOf(gone)));
  expect(await page.whenEnded).toBe('end');
  expect(page.events).toMatchObject([{ event: 'state', data: { state: 'aborted' } }]);
});

test('streams end when the server does, and hold nothing up', async () => {
  const own = await startServer({ env: ENV });
  const url = await createUpload(own.filesUrl, 5);
  const page = await openSse(eventsUrl(idOf(url), own));
  const operator = await openSse(`${own.origin}/events`, ADMIN);
  await until(() => page.events.length === 1 && operator.lastEventId() !== undefined);
  expect(await own.stop('SIGTERM')).toBe(0);
  expect(await Promise.all([page.whenEnded, operator.whenEnded])).toEqual(['end', 'end']);
});
