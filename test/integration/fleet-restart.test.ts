import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { fleetSettings, startFleet } from '../support/fleet.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { startRelay } from '../support/relay.ts';
import { startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';
import { type ClientUpload, startClientUpload } from '../support/tus-js-client.ts';

/* Every process is replaced while uploads run: nobody starts over. */

vi.setConfig({ testTimeout: 90_000 });

const MIB = 1024 * 1024;
const UPLOADS = 6;

let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis({ hasRunForLong: true });
});

afterAll(() => redis?.stop());

const contents = Array.from({ length: UPLOADS }, (_, index) =>
  randomBytesOf(`rolling ${index}`, 12 * MIB + index),
);

/** Half of them in one large request each, half in chunks. */
function startUploads(endpoint: string): ClientUpload[] {
  return contents.map((content, index) =>
    startClientUpload(content, {
      endpoint,
      retryDelays: [100, 300, 700, 1_500, 3_000, 3_000, 3_000],
      ...(index % 2 === 0 ? {} : { chunkSize: MIB }),
    }),
  );
}

async function expectAllExact(clients: ClientUpload[]): Promise<void> {
  const urls = await Promise.all(clients.map(({ done }) => done));
  for (const [index, url] of urls.entries()) {
    const { status, body } = await request('GET', url);
    expect([status, sha256Hex(body)]).toEqual([200, sha256Hex(contents[index] as Buffer)]);
    const posts = clients[index]?.requests.filter(({ method }) => method === 'POST');
    expect(posts?.map((post) => post.status)).toEqual([201]);
  }
}

const isUnderWay = ({ requests, upload }: ClientUpload) => upload.url !== null && requests.length > 0;

test('SIGTERM of each process in turn: no byte is lost and no client starts over', async () => {
  const fleet = await startFleet({ s3: inject('s3'), redis });
  const relay = await startRelay(Number(new URL(fleet.filesUrl).port), 1.5 * MIB);
  try {
    const clients = startUploads(`http://127.0.0.1:${relay.port}/files`);
    await until(() => clients.every(isUnderWay), 20_000);
    for (const index of [0, 1]) await fleet.restart(index, 'SIGTERM');

    await expectAllExact(clients);
    const retried = clients.filter(({ requests }) => requests.some(({ method }) => method === 'HEAD'));
    expect(retried.length).toBeGreaterThan(0);
    expect(fleet.output()).not.toContain('the grace period is over');
  } finally {
    await relay.close();
    await fleet.close();
  }
});

test('SIGHUP replaces the processes of LANDFALL_PROCESSES=2 one after the other', async () => {
  const settings = fleetSettings(inject('s3'), redis, `rolling-${randomBytes(6).toString('hex')}`);
  const server = await startServer({ env: { ...settings, LANDFALL_PROCESSES: '2' } });
  const relay = await startRelay(Number(new URL(server.origin).port), 1.5 * MIB);
  try {
    const clients = startUploads(`http://127.0.0.1:${relay.port}/files`);
    await until(() => clients.every(isUnderWay), 20_000);
    process.kill(server.pid, 'SIGHUP');
    const endings = () => server.output().match(/"shutting down"/g)?.length ?? 0;
    await until(() => endings() === 2, 30_000);

    await expectAllExact(clients);
    expect(clients.some(({ requests }) => requests.some(({ method }) => method === 'HEAD'))).toBe(true);
    expect(endings()).toBe(2);
    expect(server.output()).not.toContain('starting another');
  } finally {
    await relay.close();
    expect(await server.stop()).toBe(0);
  }
});

describe('is refused at start, with the reason', () => {
  test.each<[string, Record<string, string>, string]>([
    ['several processes on the file store', {}, '1 with the file store'],
    [
      'several processes on S3 without Redis',
      { LANDFALL_STORE: 's3', LANDFALL_S3_BUCKET: 'uploads' },
      'only locks in Redis keep two processes from writing the same upload',
    ],
  ])('%s', (_name, env, reason) => {
    const { status, stderr } = spawnSync(process.execPath, ['server/main.ts'], {
      env: { PATH: process.env.PATH, LANDFALL_PROCESSES: '2', ...env },
      encoding: 'utf8',
    });
    expect(status).toBe(78);
    expect(stderr).toContain('LANDFALL_PROCESSES');
    expect(stderr).toContain(reason);
  });
});
