import http from 'node:http';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { startRelay } from '../support/relay.ts';
import { createUpload, type HttpReply, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';
import { startClientUpload } from '../support/tus-js-client.ts';

/* What the processes have to agree on is in Redis, and Redis is lost: for a moment, for a while, or with all it knew. */

vi.setConfig({ testTimeout: 90_000 });

const MIB = 1024 * 1024;
const METADATA = `filename ${Buffer.from('plan.txt').toString('base64')},filetype ${Buffer.from('text/plain').toString('base64')}`;

let redis: RedisServer;
let fleet: Fleet;

beforeAll(async () => {
  redis = await startRedis({ hasRunForLong: true });
  fleet = await startFleet({
    s3: inject('s3'),
    redis,
    env: { LANDFALL_LOCK_TTL: '1s', LANDFALL_LOCK_TIMEOUT: '2s', LANDFALL_SWEEP_INTERVAL: '500ms' },
  });
});

afterAll(async () => {
  await fleet?.close();
  await redis?.stop();
});

async function upload(content: Buffer, headers: http.OutgoingHttpHeaders = {}): Promise<string> {
  const url = await createUpload(fleet.filesUrl, content.length, headers);
  expect((await patch(url, 0, content)).status).toBe(204);
  return url;
}

async function readyIds(): Promise<string[]> {
  const { origin } = fleet.servers[0] as { origin: string };
  const reply = await request('GET', `${origin}/uploads?state=ready&limit=1000`);
  expect(reply.status).toBe(200);
  const { uploads } = JSON.parse(reply.body.toString()) as { uploads: { id: string }[] };
  return uploads.map(({ id }) => id);
}

const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);

test('FLUSHALL in the middle of 20 uploads: all finish exact, and are listed again', async () => {
  const before = randomBytesOf('finished before', 300_000);
  const beforeUrl = await upload(before);
  const relay = await startRelay(Number(new URL(fleet.filesUrl).port), 4 * MIB);
  const contents = Array.from({ length: 20 }, (_, index) =>
    randomBytesOf(`flushed ${index}`, 6 * MIB + index),
  );
  const clients = contents.map((content) =>
    startClientUpload(content, {
      endpoint: `http://127.0.0.1:${relay.port}/files`,
      chunkSize: MIB + 11,
      retryDelays: [200, 500, 1_000, 2_000, 3_000, 3_000, 3_000],
    }),
  );
  const patches = () => clients.flatMap(({ requests }) => requests).filter(({ status }) => status === 204);

  for (const count of [15, 60]) {
    await until(() => patches().length >= count, 60_000);
    await redis.admin.flushall();
    for (const index of [0, 1]) {
      const reply = await request('GET', fleet.urlAt(index, beforeUrl));
      // Without its record, and while no process gets a lock to finish it anew: the bucket says that it is finished.
      expect([reply.status, sha256Hex(reply.body)]).toEqual([200, sha256Hex(before)]);
    }
  }
  const urls = await Promise.all(clients.map(({ done }) => done));
  await relay.close();

  for (const [index, url] of urls.entries()) {
    const content = contents[index] as Buffer;
    const reply = await request('GET', fleet.urlAt(index % 2, url));
    expect([reply.status, sha256Hex(reply.body)]).toEqual([200, sha256Hex(content)]);
    const methods = clients[index]?.requests.map(({ method }) => method);
    expect(methods?.filter((method) => method === 'POST')).toHaveLength(1);
  }
  await until(async () => {
    const ids = await readyIds();
    return [beforeUrl, ...urls].every((url) => ids.includes(idOf(url)));
  }, 20_000);
});

interface RunningPatch {
  send(bytes: Buffer): void;
  answered: Promise<HttpReply | 'cut'>;
}

function startPatch(url: string, size: number): RunningPatch {
  const headers = { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '0', 'Content-Length': size };
  const req = http.request(url, { method: 'PATCH', agent: false, headers });
  const answered = new Promise<HttpReply | 'cut'>((resolve) => {
    req.on('response', (res) => {
      res.resume();
      resolve({ status: res.statusCode as number, headers: res.headers, body: Buffer.alloc(0) });
    });
    req.on('error', () => resolve('cut'));
    req.on('close', () => resolve('cut'));
  });
  return { send: (bytes) => void req.write(bytes), answered };
}

describe.each<[string, () => Promise<void> | void, () => Promise<void> | void]>([
  ['killed', () => redis.kill(), () => redis.restart()],
  ['stopped', () => redis.pause(), () => redis.resume()],
])('Redis is %s', (how, takeAway, bringBack) => {
  test('writes stop safely, new ones are refused, downloads go on; and all goes on when it is back', async () => {
    const finished = randomBytesOf(`finished before Redis was ${how}`, 400_000);
    const finishedUrl = await upload(finished, { 'Upload-Metadata': METADATA });
    const digest = `sha-256=:${Buffer.from(sha256Hex(finished), 'hex').toString('base64')}:`;
    const verifiedUrl = await upload(finished, { 'Repr-Digest': digest });
    const otherUrl = await createUpload(fleet.filesUrl, 1000);
    const content = randomBytesOf(`running while Redis was ${how}`, 11 * MIB);
    const url = await createUpload(fleet.filesUrl, content.length);
    const running = startPatch(fleet.urlAt(0, url), content.length);
    running.send(content.subarray(0, 6 * MIB));
    await until(async () => (await redis.admin.keys(`*${idOf(url)}*:lock`)).length === 1);
    const pids = fleet.servers.map(({ pid }) => pid);

    await takeAway();
    const answer = await running.answered;
    if (answer !== 'cut') {
      expect(answer.status).toBe(503);
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    }
    for (const { origin } of fleet.servers) {
      const creation = await request('POST', `${origin}/files`, { ...TUS, 'Upload-Length': '5' });
      const write = await patch(`${origin}/files/${idOf(otherUrl)}`, 0, 'x');
      for (const refused of [creation, write]) {
        expect(refused.status).toBe(503);
        expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
      }
      expect((await head(`${origin}/files/${idOf(url)}`)).status).toBe(423);
      expect((await head(`${origin}/files/${idOf(finishedUrl)}`)).status).toBe(423);
      expect((await request('GET', `${origin}/health/ready`)).status).toBe(503);
      expect((await request('GET', `${origin}/health/live`)).status).toBe(200);

      const download = await request('GET', `${origin}/files/${idOf(finishedUrl)}`);
      expect(download.status).toBe(200);
      expect(download.body.equals(finished)).toBe(true);
      expect(download.headers['content-type']).toBe('text/plain');
      expect(download.headers['content-disposition']).toContain('plan.txt');
      // Whether it was verified only the catalog knows; that there is nothing to serve yet the bucket knows, too.
      expect((await request('GET', `${origin}/files/${idOf(verifiedUrl)}`)).status).toBe(503);
      expect((await request('GET', `${origin}/files/${idOf(otherUrl)}`)).status).toBe(409);
      expect((await request('GET', `${origin}/files/unknown-upload`)).status).toBe(404);
    }

    await bringBack();
    let offset = 0;
    await until(async () => {
      const reply = await head(url);
      offset = Number(reply.headers['upload-offset']);
      return reply.status === 200;
    }, 20_000);
    expect(offset).toBeLessThanOrEqual(6 * MIB);
    expect((await patch(url, offset, content.subarray(offset))).status).toBe(204);
    const whole = await request('GET', url);
    expect(whole.body.equals(content)).toBe(true);
    const later = randomBytesOf('later', 1000);
    expect((await request('GET', await upload(later))).body.equals(later)).toBe(true);
    await until(async () => (await request('GET', verifiedUrl)).status === 200);
    for (const { origin } of fleet.servers) {
      await until(async () => (await request('GET', `${origin}/health/ready`)).status === 200);
    }
    expect(fleet.servers.map(({ pid }) => pid)).toEqual(pids);
    expect(fleet.servers.every((server) => server.isRunning())).toBe(true);
  });
});
