import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { chunked, openWire, sendWire, type WireReply } from '../support/rufh.ts';
import type { RunningServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* The IETF's resumable uploads over one bucket and one Redis, by two processes: every request may meet either. */

const VERSION = { 'Upload-Draft-Interop-Version': '9' };
const SIZE = 20_000_000;
const content = randomBytesOf('rufh on s3', SIZE);

let redis: RedisServer;
let fleet: Fleet;
let here: RunningServer;
let there: RunningServer;

beforeAll(async () => {
  redis = await startRedis({ hasRunForLong: true });
  const env = {
    LANDFALL_EXPIRATION: 'none',
  };
  fleet = await startFleet({ s3: inject('s3'), redis, env });
  [here, there] = fleet.servers as [RunningServer, RunningServer];
});
afterAll(async () => {
  await fleet?.close();
  await redis?.stop();
});

const at = (server: RunningServer, reply: Pick<WireReply, 'headers'>) =>
  new URL(reply.headers.location as string, server.filesUrl).href;
const create = (isLast: boolean, body: Buffer | string, headers: Record<string, string> = {}) =>
  sendWire(here.filesUrl, 'POST', { ...VERSION, 'Upload-Complete': isLast ? '?1' : '?0', ...headers }, body);
const retrieve = async (url: string) => {
  const { status, headers } = await sendWire(url, 'HEAD', VERSION);
  return [status, headers['upload-offset'], headers['upload-complete'], headers['upload-length']];
};
const append = (url: string, offset: number, isLast: boolean, body: Buffer | string, headers = {}) =>
  sendWire(
    url,
    'PATCH',
    {
      ...VERSION,
      'Content-Type': 'application/partial-upload',
      'Upload-Offset': String(offset),
      'Upload-Complete': isLast ? '?1' : '?0',
      ...headers,
    },
    body,
  );

describe('over S3, by two processes', () => {
  it('create at one, cut, HEAD and resume at the other, exact', async () => {
    const creation = await openWire(here.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Content-Length': String(SIZE),
    });
    const interim = await creation.interim(104);
    await creation.write(content.subarray(0, 12_345_678));
    await creation.cut();
    const url = at(there, interim);
    expect(await retrieve(url)).toEqual([204, '12345678', '?0', String(SIZE)]);
    const reply = await append(url, 12_345_678, true, content.subarray(12_345_678));
    expect([reply.status, reply.headers['upload-complete']]).toEqual([201, '?1']);
    expect(await retrieve(at(here, interim))).toEqual([204, String(SIZE), '?1', String(SIZE)]);
    expect(sha256Hex((await request('GET', at(here, interim))).body)).toBe(sha256Hex(content));
  });

  it('a length that nobody knew before the completing request', async () => {
    const creation = await openWire(here.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Transfer-Encoding': 'chunked',
    });
    const interim = await creation.interim(104);
    await creation.write(chunked(content.subarray(0, 7_000_000)));
    await creation.cut();
    const url = at(there, interim);
    expect(await retrieve(url)).toEqual([204, '7000000', '?0', undefined]);
    const next = await append(url, 7_000_000, false, content.subarray(7_000_000, 11_000_000));
    expect(next.status).toBe(204);
    expect((await append(at(here, interim), 11_000_000, true, '')).headers['upload-complete']).toBe('?1');
    expect(await retrieve(url)).toEqual([204, '11000000', '?1', '11000000']);
    const original = await request('GET', url);
    expect(original.body.equals(content.subarray(0, 11_000_000))).toBe(true);
  });

  it('a full upload is incomplete to both until its completing request comes', async () => {
    const reply = await create(false, 'hello', { 'Upload-Length': '5' });
    const [one, other] = [at(here, reply), at(there, reply)];
    expect(await retrieve(one)).toEqual([204, '5', '?0', '5']);
    expect(await retrieve(other)).toEqual([204, '5', '?0', '5']);
    expect((await append(other, 5, true, '')).headers['upload-complete']).toBe('?1');
    expect(await retrieve(one)).toEqual([204, '5', '?1', '5']);
    expect((await request('GET', one)).body.toString()).toBe('hello');
  });

  it('a request at one ends the older one at the other, with what it brought', async () => {
    const reply = await create(false, '');
    const older = await openWire(at(here, reply), 'PATCH', {
      ...VERSION,
      'Content-Type': 'application/partial-upload',
      'Upload-Offset': '0',
      'Upload-Complete': '?1',
      'Content-Length': String(SIZE),
    });
    await older.write(content.subarray(0, 6_000_000));
    const [status, offset] = await retrieve(at(there, reply));
    expect(status).toBe(204);
    expect((await older.reply).status).toBe(503);
    await older.cut();
    const resumed = await append(at(there, reply), Number(offset), true, content.subarray(Number(offset)));
    expect(resumed.status).toBe(201);
    expect(sha256Hex((await request('GET', at(here, reply))).body)).toBe(sha256Hex(content));
  });

  it('a digest that comes with the last request is verified', async () => {
    for (const [declared, status] of [
      ['hello', 200],
      ['other', 410],
    ] as const) {
      const reply = await create(false, 'hel');
      const digest = `sha-256=:${Buffer.from(sha256Hex(Buffer.from(declared)), 'hex').toString('base64')}:`;
      await append(at(there, reply), 3, true, 'lo', { 'Repr-Digest': digest });
      await expect.poll(async () => (await request('GET', at(here, reply))).status).toBe(status);
    }
  });

  it('more bytes than declared end the upload, and nothing of it is left', async () => {
    const reply = await create(false, 'hel', { 'Upload-Length': '5' });
    const open = await openWire(at(here, reply), 'PATCH', {
      ...VERSION,
      'Content-Type': 'application/partial-upload',
      'Upload-Offset': '3',
      'Upload-Complete': '?1',
      'Transfer-Encoding': 'chunked',
    });
    await open.write(chunked('lo and more'));
    expect((await open.reply).status).toBe(400);
    expect((await retrieve(at(there, reply)))[0]).toBe(410);
  });
});
