import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { SAMPLES } from '../support/media-samples.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import type { RunningServer } from '../support/server.ts';
import { type HttpReply, request, TUS } from '../support/tus.ts';

const MIB = 1024 ** 2;

let redis: RedisServer;
let fleet: Fleet;
let bucket: TestBucket;
let here: RunningServer;
let there: RunningServer;

beforeAll(async () => {
  const s3 = inject('s3');
  redis = await startRedis({ hasRunForLong: true });
  bucket = openTestBucket(s3);
  const env = {
    LANDFALL_S3_PREFIX: bucket.prefix,
    LANDFALL_MAX_OPEN_UPLOADS: '3',
    LANDFALL_ALLOWED_TYPES: 'image/*,application/x-own',
  };
  fleet = await startFleet({ s3, redis, env });
  [here, there] = fleet.servers as [RunningServer, RunningServer];
});
afterAll(async () => {
  await fleet?.close();
  await bucket?.close();
  await redis?.stop();
});

function create(server: RunningServer): Promise<HttpReply> {
  return request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '5' });
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function originalOf(server: RunningServer, url: string): Promise<Buffer> {
  const reply = await request('GET', new URL(url, server.origin).href);
  expect(reply.status).toBe(200);
  return reply.body;
}

describe('two processes over S3 and Redis', () => {
  it('give a client as many open uploads as it may have, and no more, however many it asks for at once', async () => {
    const replies = await Promise.all(
      Array.from({ length: 12 }, (_, index) => create(index % 2 === 0 ? here : there)),
    );
    const made = replies.filter(({ status }) => status === 201);
    expect(made).toHaveLength(3);
    expect(replies.filter(({ status }) => status === 429)).toHaveLength(9);
    for (const [index, { headers }] of made.entries()) {
      const server = index % 2 === 0 ? there : here;
      const url = new URL(headers.location as string, server.origin).href;
      expect((await request('DELETE', url, TUS)).status).toBe(204);
    }
    const again = await create(there);
    expect(again.status).toBe(201);
    await request('DELETE', new URL(again.headers.location as string, here.origin).href, TUS);
  });

  it('take files by PUT and by form, which the other one serves', async () => {
    const large = Buffer.concat([SAMPLES.png, randomBytes(12 * MIB)]);
    const small = Buffer.concat([SAMPLES.gif, randomBytes(1000)]);
    const put = await request('PUT', here.filesUrl, { 'Transfer-Encoding': 'chunked' }, large);
    expect(put.status).toBe(201);
    const body = new FormData();
    body.append('a', new File([small], 'a.gif', { type: 'image/gif' }));
    body.append('b', new File([large], 'b.png', { type: 'image/png' }));
    const posted = await fetch(here.filesUrl, { method: 'POST', body });
    expect(posted.status).toBe(201);
    const stored = (await posted.json()) as { url: string; size: number }[];
    expect(stored.map(({ size }) => size)).toEqual([small.length, large.length]);
    const urls = [put.headers.location as string, ...stored.map(({ url }) => url)];
    const sums = await Promise.all(urls.map(async (url) => sha256(await originalOf(there, url))));
    expect(sums).toEqual([sha256(large), sha256(small), sha256(large)]);
  });

  it('leave nothing in the bucket of what was cut, or is of a wrong type', async () => {
    // The store remembers by a small .info that an upload was removed, until its sweep.
    const originals = async () =>
      (await bucket.keys()).filter((key) => !key.endsWith('.info') && !key.startsWith('previews/')).sort();
    const before = await originals();
    const html = await request('PUT', here.filesUrl, { 'Content-Type': 'image/png' }, SAMPLES.html);
    expect([html.status, html.headers['landfall-error']]).toEqual([415, 'type_not_allowed']);
    const socket = connect(Number(new URL(here.origin).port), '127.0.0.1');
    await once(socket, 'connect');
    socket.write(`PUT /files HTTP/1.1\r\nHost: h\r\nContent-Length: ${20 * MIB}\r\n\r\n`);
    socket.write(Buffer.concat([SAMPLES.png, randomBytes(11 * MIB)]));
    await expect.poll(async () => (await bucket.multiparts()).length, { timeout: 10_000 }).toBe(1);
    socket.destroy();
    await expect.poll(() => bucket.multiparts(), { timeout: 10_000 }).toEqual([]);
    await expect.poll(originals, { timeout: 10_000 }).toEqual(before);
    const { byState } = JSON.parse((await request('GET', `${there.origin}/uploads/summary`)).body.toString());
    expect(byState).toMatchObject({ receiving: 0, rejected: 0 });
  });
});
