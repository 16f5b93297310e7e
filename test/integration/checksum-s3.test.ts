import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { openRequest } from '../support/raw-request.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import type { RunningServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/* tus' checksum extension and late digests over one bucket and one Redis, by two processes in turn. */

const MIB = 1024 * 1024;
const PART = 5 * MIB;
const SIZE = 42 * MIB + 4321;
const content = randomBytesOf('checksums on s3', SIZE);

let redis: RedisServer;
let fleet: Fleet;
let here: RunningServer;
let there: RunningServer;

beforeAll(async () => {
  redis = await startRedis({ hasRunForLong: true });
  const env = {
    LANDFALL_EXPIRATION: 'none',
    // A body of a quarter of it waits in memory; half of the spool is for larger ones.
    LANDFALL_BUFFER_BUDGET: '20MiB',
    LANDFALL_SPOOL_BUDGET: '64MiB',
  };
  fleet = await startFleet({ s3: inject('s3'), redis, env });
  [here, there] = fleet.servers as [RunningServer, RunningServer];
});
afterAll(async () => {
  await fleet?.close();
  await redis?.stop();
});

const checksumOf = (body: Buffer) => ({
  'Upload-Checksum': `sha1 ${createHash('sha1').update(body).digest('base64')}`,
});
const through = (server: RunningServer, url: string) =>
  `${server.filesUrl}${url.slice(url.lastIndexOf('/'))}`;
const offsetOf = async (url: string) => (await head(url)).headers['upload-offset'];
const spooled = async (server: RunningServer) => readdir(join(server.dataDir, 'spool'));

it('is stored once it is verified, from memory and from the spool, by changing processes, and is exact', async () => {
  const url = await createUpload(here.filesUrl, SIZE);
  const servers = [here, there];
  let offset = 0;
  for (const [turn, length] of [1000, PART, 31 * MIB, 2 * MIB, SIZE].entries()) {
    const body = content.subarray(offset, Math.min(SIZE, offset + length));
    const at = through(servers[turn % 2] as RunningServer, url);
    const damaged = Buffer.from(body);
    damaged.writeUInt8(damaged.readUInt8(body.length - 1) ^ 1, body.length - 1);
    const refused = await patch(at, offset, damaged, checksumOf(body));
    expect([refused.status, refused.headers['landfall-error']]).toEqual([460, 'checksum_mismatch']);
    expect(await offsetOf(through(there, url))).toBe(String(offset));
    const reply = await patch(at, offset, body, checksumOf(body));
    offset += body.length;
    expect([reply.status, reply.headers['upload-offset']]).toEqual([204, String(offset)]);
  }
  expect(offset).toBe(SIZE);
  expect(sha256Hex((await request('GET', through(there, url))).body)).toBe(sha256Hex(content));
  expect([await spooled(here), await spooled(there)]).toEqual([[], []]);
}, 60_000);

it('of a body that is cut, or larger than the spool, nothing is stored', async () => {
  const url = await createUpload(here.filesUrl, SIZE);
  const body = content.subarray(0, 12 * MIB);
  const sending = await openRequest('PATCH', url, {
    ...TUS,
    ...PATCH_TYPE,
    'Upload-Offset': '0',
    'Content-Length': String(body.length),
    ...checksumOf(body),
  });
  await sending.write(body.subarray(0, 11 * MIB));
  sending.cut();
  expect(await offsetOf(through(there, url))).toBe('0');
  const large = await patch(url, 0, content.subarray(0, 33 * MIB), checksumOf(content));
  expect([large.status, large.headers['landfall-error']]).toEqual([413, 'checksum_body_too_large']);
  expect(await offsetOf(url)).toBe('0');
});

it('a digest that is declared between two processes is verified at the end', async () => {
  const body = content.subarray(0, 7 * MIB);
  for (const [sha256, state] of [
    [sha256Hex(body), 'ready'],
    [sha256Hex(content), 'rejected'],
  ] as const) {
    const url = await createUpload(here.filesUrl, body.length);
    await patch(url, 0, body.subarray(0, PART));
    const id = url.slice(url.lastIndexOf('/') + 1);
    const address = `${there.origin}/uploads/${id}`;
    const json = { 'Content-Type': 'application/json' };
    expect((await request('PATCH', address, json, JSON.stringify({ sha256 }))).status).toBe(200);
    expect((await patch(url, PART, body.subarray(PART))).status).toBe(204);
    const record = async () => JSON.parse((await request('GET', address)).body.toString());
    await until(async () => ['ready', 'rejected'].includes((await record()).state));
    expect(await record()).toMatchObject({ state, declaredSha256: sha256, sha256: sha256Hex(body) });
  }
});
