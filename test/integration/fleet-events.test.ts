import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { openSse, type SseClient } from '../support/sse.ts';
import { createUpload, patch, request } from '../support/tus.ts';

/* Events of one process, told by another: over one bucket and one Redis. */

let redis: RedisServer;
let fleet: Fleet;

beforeAll(async () => {
  redis = await startRedis({ hasRunForLong: true });
  fleet = await startFleet({ s3: inject('s3'), redis });
});

afterAll(async () => {
  await fleet?.close();
  await redis?.stop();
});

const originOf = (index: number) => (fleet.servers[index] as { origin: string }).origin;
const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);
/** But for progress, which depends on the clock. */
const typesOf = ({ events }: SseClient, id?: string) =>
  events
    .filter(({ event, data }) => event !== 'progress' && (id === undefined || data.uploadId === id))
    .map(({ event }) => event);

test('what one process does is told by the other, also to whoever comes back to another one', async () => {
  const operators = await Promise.all([0, 1].map((index) => openSse(`${originOf(index)}/events`)));
  await until(() => operators.every((operator) => operator.lastEventId() !== undefined));
  const url = await createUpload(`${originOf(0)}/files`, 10);
  const id = idOf(url);
  const page = await openSse(`${originOf(1)}/uploads/${id}/events`);
  await until(() => page.events.length === 1);
  expect((await patch(fleet.urlAt(0, url), 0, '01234')).status).toBe(204);
  await until(() => operators.every((operator) => typesOf(operator, id).length > 0));
  operators[0]?.close();
  expect((await patch(fleet.urlAt(1, url), 5, '56789')).status).toBe(204);
  expect(await page.whenEnded).toBe('end');
  expect(typesOf(page)).toEqual(['state', 'received', 'ready', 'state']);
  await until(() => typesOf(operators[1] as SseClient, id).at(-1) === 'ready');
  expect(typesOf(operators[1] as SseClient, id)).toEqual(['created', 'received', 'ready']);

  const back = await openSse(`${originOf(1)}/events?lastEventId=${operators[0]?.lastEventId()}`);
  await until(() => typesOf(back, id).length === 2);
  expect(typesOf(back, id)).toEqual(['received', 'ready']);
  for (const index of [0, 1]) {
    const address = `${originOf(index)}/uploads/${id}/events`;
    const again = await request('GET', address, { 'Last-Event-ID': page.lastEventId() });
    expect(again.status).toBe(204);
  }
});

test('streams outlive a rolling restart, and what Redis lost is a reset', async () => {
  const operator = await openSse(`${originOf(0)}/events`);
  await until(() => operator.lastEventId() !== undefined);
  const before = idOf(await createUpload(`${originOf(1)}/files`, 5));
  await until(() => typesOf(operator, before).length === 1);
  await fleet.restart(0, 'SIGTERM');
  expect(await operator.whenEnded).toBe('end');
  const during = idOf(await createUpload(`${originOf(1)}/files`, 5));
  const back = await openSse(`${originOf(0)}/events`, { 'Last-Event-ID': operator.lastEventId() });
  await until(() => typesOf(back, during).length === 1);
  expect(typesOf(back, before)).toEqual([]);

  await redis.admin.flushall();
  const after = idOf(await createUpload(`${originOf(1)}/files`, 5));
  await until(() => typesOf(back, after).length === 1);
  const late = await openSse(`${originOf(0)}/events`, { 'Last-Event-ID': operator.lastEventId() });
  await until(() => late.events.length === 1);
  expect(late.events[0]?.event).toBe('reset');
});
