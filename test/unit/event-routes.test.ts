import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EventRoutes, mountEventRoutes } from '../../server/events/routes.ts';
import { createCors } from '../../server/plugins/cors.ts';
import { newUploadRecord, type UploadRecord, type UploadState } from '../../stores/catalog/types.ts';
import { StoreError } from '../../stores/errors.ts';
import { openSqliteEventLog } from '../../stores/events/sqlite.ts';
import type { EventLog, UploadEventType } from '../../stores/events/types.ts';
import { until } from '../support/redis.ts';
import { openSse, type SseClient } from '../support/sse.ts';
import { request } from '../support/tus.ts';

let directory: string;
let log: EventLog;
let app: FastifyInstance;
let routes: EventRoutes;
let origin: string;
const records = new Map<string, UploadRecord>();
const clients: SseClient[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-event-routes-'));
  log = openSqliteEventLog({ path: join(directory, 'events.db') });
  await start(log);
  setState('a', 'receiving');
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  routes.close();
  await app.close();
  await log.close();
  records.clear();
  await rm(directory, { recursive: true });
});

async function start(events: EventLog): Promise<void> {
  app = Fastify();
  routes = mountEventRoutes(app, {
    events,
    async findRecord(id) {
      const record = records.get(id);
      if (record === undefined) throw new StoreError('upload_not_found', 'no such upload');
      return record;
    },
    present: async (_request, { id, state }) => ({ id, state }),
    requireAdmin: () => {},
    cors: createCors({ origins: ['https://page.example'], credentials: false }),
    heartbeatMs: 50,
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
}

function setState(id: string, state: UploadState): void {
  records.set(id, newUploadRecord({ id, size: 5, rawMetadata: null, createdAtMs: 1, state }));
}

function publish(type: UploadEventType, uploadId: string, data: Record<string, unknown> = {}): Promise<void> {
  return log.publish({ type, uploadId, atMs: Date.UTC(2026, 0, 2), data });
}

async function open(path: string, lastEventId?: string): Promise<SseClient> {
  const headers = lastEventId === undefined ? {} : { 'Last-Event-ID': lastEventId };
  const client = await openSse(origin + path, headers);
  clients.push(client);
  return client;
}

const namesOf = ({ events }: SseClient) => events.map(({ event }) => event);

describe('GET /uploads/:id/events', () => {
  it('tells the state, then what happens, and ends when nothing more will', async () => {
    const client = await open('/uploads/a/events');
    expect(client.status).toBe(200);
    expect(client.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
    });
    await until(() => client.events.length === 1);
    await publish('progress', 'a', { offset: 3, size: 5 });
    await publish('received', 'b');
    await publish('received', 'a');
    await publish('ready', 'a', { previews: 2 });
    expect(await client.whenEnded).toBe('end');
    expect(client.text()).toMatch(/^retry: \d{4}\n\n/);
    expect(client.events.map(({ event, data }) => [event, data])).toEqual([
      ['state', { id: 'a', state: 'receiving' }],
      ['progress', { uploadId: 'a', at: '2026-01-02T00:00:00.000Z', offset: 3, size: 5 }],
      ['received', { uploadId: 'a', at: '2026-01-02T00:00:00.000Z' }],
      ['ready', { uploadId: 'a', at: '2026-01-02T00:00:00.000Z', previews: 2 }],
    ]);
    const [, progress, received, ready] = client.events;
    expect(progress?.id).toBeUndefined();
    expect(received?.id).not.toBe(ready?.id);
  });

  it('tells an EventSource that comes back after the end to come no more', async () => {
    const client = await open('/uploads/a/events');
    await until(() => client.events.length === 1);
    await publish('ready', 'a');
    await client.whenEnded;
    setState('a', 'ready');
    const again = await request('GET', `${origin}/uploads/a/events`, {
      'Last-Event-ID': client.lastEventId(),
    });
    expect(again.status).toBe(204);
    expect(again.headers['cache-control']).toBe('no-store');
  });

  it('of an upload that is over, tells the state and ends', async () => {
    for (const state of ['ready', 'rejected', 'failed', 'aborted', 'expired'] as const) {
      setState('a', state);
      const client = await open('/uploads/a/events');
      expect(await client.whenEnded).toBe('end');
      expect(client.events).toMatchObject([{ event: 'state', data: { state } }]);
      const again = await request('GET', `${origin}/uploads/a/events?lastEventId=${client.lastEventId()}`);
      expect(again.status).toBe(204);
    }
  });

  it('whoever comes back hears what was missed, and the end of it', async () => {
    const first = await open('/uploads/a/events');
    await until(() => first.events.length === 1);
    await publish('received', 'a');
    await until(() => first.events.length === 2);
    first.close();
    await publish('verified', 'a');
    await publish('preview', 'a');
    await publish('ready', 'a');
    setState('a', 'ready');
    const again = await open('/uploads/a/events', first.lastEventId());
    expect(await again.whenEnded).toBe('end');
    expect(namesOf(again)).toEqual(['state', 'verified', 'preview', 'ready', 'state']);
    expect(again.events[0]?.id).toBeUndefined();
  });

  it('an id that is not known any more is a reset, and then the state', async () => {
    await publish('created', 'a');
    const client = await open('/uploads/a/events', '1-1');
    await until(() => client.events.length === 2);
    expect(namesOf(client)).toEqual(['reset', 'state']);
    await publish('received', 'a');
    await until(() => client.events.length === 3);
    const again = await open('/uploads/a/events', client.events[0]?.id);
    await until(() => again.events.length === 2);
    expect(namesOf(again)).toEqual(['state', 'received']);
  });

  it('misses nothing when it comes back before there was any event', async () => {
    const client = await open('/uploads/a/events');
    await until(() => client.events.length === 1);
    client.close();
    await publish('received', 'a');
    const again = await open('/uploads/a/events', client.lastEventId());
    await until(() => again.events.length === 2);
    expect(namesOf(again)).toEqual(['reset', 'state']);
  });

  it('ends although the last event was lost, once the state says so', async () => {
    const client = await open('/uploads/a/events');
    await until(() => client.events.length === 1);
    setState('a', 'failed');
    expect(await client.whenEnded).toBe('end');
    expect(client.events.at(-1)).toMatchObject({ event: 'state', data: { state: 'failed' } });
    expect(client.text()).toContain('\n:\n\n');
  });

  it('answers what is no upload, or no question, as any request', async () => {
    const missing = await request('GET', `${origin}/uploads/none/events`, { Accept: 'text/event-stream' });
    expect(missing.status).not.toBe(200);
    const twice = await request('GET', `${origin}/uploads/a/events?lastEventId=1&lastEventId=2`);
    expect(twice.status).not.toBe(200);
  });

  it('is for pages of the origins that may upload', async () => {
    const headers = { Origin: 'https://page.example', Accept: 'text/event-stream' };
    const client = await openSse(`${origin}/uploads/a/events`, headers);
    clients.push(client);
    expect(client.headers['access-control-allow-origin']).toBe('https://page.example');
    const preflight = await request('OPTIONS', `${origin}/uploads/a/events`, headers);
    expect(preflight.status).toBe(204);
    expect(preflight.headers['access-control-allow-headers']).toContain('Last-Event-ID');
    const missing = await request('GET', `${origin}/uploads/none/events`, headers);
    expect(missing.headers['access-control-allow-origin']).toBe('https://page.example');
    const other = await request('GET', `${origin}/uploads/none/events`, { Origin: 'https://other.example' });
    expect(other.headers['access-control-allow-origin']).toBeUndefined();
  });
});

describe('GET /events', () => {
  it('tells of all uploads, from the last event that the client knows', async () => {
    const client = await open('/events');
    await until(() => client.lastEventId() === 'none');
    await publish('created', 'a');
    await publish('progress', 'a', { offset: 1 });
    await publish('created', 'b');
    await until(() => client.events.length === 3);
    const again = await open('/events', client.events[0]?.id);
    await until(() => again.events.length === 1);
    expect(again.events[0]).toEqual(client.events[2]);
    const byQuery = await open(`/events?lastEventId=${client.events[0]?.id}`);
    await until(() => byQuery.events.length === 1);
    const late = await open('/events');
    await until(() => late.lastEventId() === client.events[2]?.id);
    expect(late.events).toEqual([]);
    await publish('ready', 'b');
    await until(() => [client, again, byQuery, late].every(({ events }) => events.at(-1)?.event === 'ready'));
  });

  it('hands over ten thousand missed events in one go', async () => {
    const client = await open('/events');
    await publish('created', 'first');
    await until(() => client.events.length === 1);
    client.close();
    for (let number = 0; number < 9_000; number++)
      await publish('created', `upload${number}`, { size: number });
    const again = await open('/events', client.lastEventId());
    await until(() => again.events.length === 9_000);
    expect(again.events.at(-1)?.data).toMatchObject({ uploadId: 'upload8999', size: 8_999 });
  });
});

describe('a stream', () => {
  it('is cut off when its client does not take what is told', async () => {
    const client = await open('/uploads/a/events');
    await until(() => client.events.length === 1);
    client.response.pause();
    const other = await open('/uploads/a/events');
    const large = 'x'.repeat(128 * 1024);
    const total = 150;
    for (let sent = 1; sent <= total; sent++) {
      await publish('progress', 'a', { large });
      await until(() => other.events.length === sent + 1);
    }
    client.response.resume();
    expect(await client.whenEnded).toBe('cut');
    expect(client.events.length).toBeLessThan(total);
    expect(other.ended()).toBeUndefined();
  });

  it('ends when the server does', async () => {
    const client = await open('/events');
    const other = await open('/uploads/a/events');
    routes.close();
    expect(await Promise.all([client.whenEnded, other.whenEnded])).toEqual(['end', 'end']);
    const late = await open('/events');
    expect(await late.whenEnded).toBe('end');
  });

  it('ends when events were missed that nobody can tell any more', async () => {
    await app.close();
    let onGap = (): void => {};
    await start({
      ...log,
      async subscribe(filter, afterId, listener, gap) {
        onGap = gap ?? onGap;
        return log.subscribe(filter, afterId, listener);
      },
    });
    const client = await open('/events');
    await sleep(20);
    onGap();
    expect(await client.whenEnded).toBe('end');
  });

  it('that cannot begin now asks an EventSource to come back, and anybody else gets the error', async () => {
    await app.close();
    await start({
      ...log,
      subscribe: async () => {
        throw new StoreError('store_unavailable', 'Redis is away');
      },
    });
    for (const path of ['/events', '/uploads/a/events']) {
      const reply = await request('GET', origin + path, { Accept: 'text/event-stream' });
      expect(reply.status).toBe(200);
      expect(reply.headers['content-type']).toBe('text/event-stream; charset=utf-8');
      expect(reply.body.toString()).toMatch(/^retry: [56]\d{3}\n: store_unavailable\n\n$/);
      expect((await request('GET', origin + path)).status).not.toBe(200);
    }
  });

  it('costs nothing when its client is gone before it begins', async () => {
    const requests = Array.from({ length: 20 }, () => {
      const req = http.get(`${origin}/uploads/a/events`, { agent: false });
      req.on('error', () => {});
      return req;
    });
    await Promise.all(requests.map((req) => once(req, 'socket')));
    for (const req of requests) req.destroy();
    await sleep(100);
    await publish('received', 'a');
    const client = await open('/uploads/a/events');
    await until(() => client.events.length === 1);
  });
});
