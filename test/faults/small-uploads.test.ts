import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../support/redis.ts';
import { startServer } from '../support/server.ts';
import { PATCH_TYPE, request, TUS } from '../support/tus.ts';
import { createRandom, randomBytesOf } from './random.ts';

/*
 * Small uploads that come with their creation are written and recorded many at a time. The server is killed in the
 * middle of that: what was acknowledged is there, whole and known. Of what was not, an upload may be left that is not
 * full and expires, but never half of one.
 */

const CLIENTS = 24;

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'landfall-small-'));
});

afterAll(() => rm(dataDir, { recursive: true, force: true }));

interface Acknowledged {
  path: string;
  content: Buffer;
}

const acknowledged: Acknowledged[] = [];

/** Creates uploads one after the other until its server is gone. */
async function createUntilKilled(filesUrl: string, seed: string): Promise<void> {
  const random = createRandom(seed);
  for (let number = 0; ; number += 1) {
    const content = randomBytesOf(`${seed}/${number}`, 1 + random.skewedInt(0, 20_000));
    const headers = { ...TUS, ...PATCH_TYPE, 'Upload-Length': String(content.length) };
    const reply = await request('POST', filesUrl, headers, content).catch(() => undefined);
    if (reply === undefined) return;
    expect(reply.status, reply.body.toString()).toBe(201);
    expect(reply.headers['upload-offset']).toBe(String(content.length));
    acknowledged.push({ path: reply.headers.location as string, content });
  }
}

test.each([1, 2, 3, 4, 5, 6])('kill -9 while many are created, %i', async (round) => {
  const random = createRandom(`small/${round}`);
  const server = await startServer({ dataDir });
  const clients = Array.from({ length: CLIENTS }, (_, client) =>
    createUntilKilled(server.filesUrl, `small/${round}/${client}`),
  );
  await until(() => acknowledged.length > 0, 30_000);
  await sleep(random.int(0, 500));
  await server.stop('SIGKILL');
  await Promise.all(clients);

  const again = await startServer({ dataDir });
  try {
    for (const { path, content } of acknowledged.splice(0)) {
      const original = await request('GET', new URL(path, again.origin).href);
      expect(original.status).toBe(200);
      expect(original.body.equals(content)).toBe(true);
      const id = path.slice(path.lastIndexOf('/') + 1);
      // Its record may have been lost with the last milliseconds of the catalog: then all is done for it again.
      await until(async () => (await shown(again.origin, id)).state === 'ready', 30_000);
      const { length } = content;
      expect(await shown(again.origin, id)).toMatchObject({ size: length, offset: length });
    }
    await until(async () => (await halfUploads()).length === 0, 30_000);
    await until(async () => {
      const names = await readdir(join(dataDir, 'uploads'));
      return (await receiving(again.origin)).every(({ id }) => names.includes(id));
    }, 30_000);
  } finally {
    await again.stop();
  }
});

async function shown(origin: string, id: string): Promise<Record<string, unknown>> {
  return JSON.parse((await request('GET', `${origin}/uploads/${id}`)).body.toString());
}

async function receiving(origin: string): Promise<{ id: string }[]> {
  const reply = await request('GET', `${origin}/uploads?state=receiving`);
  return JSON.parse(reply.body.toString()).uploads;
}

/** Files without the other one of their upload. */
async function halfUploads(): Promise<string[]> {
  const names = new Set(await readdir(join(dataDir, 'uploads')));
  return [...names].filter((name) => {
    if (name.startsWith('.')) return false;
    return !names.has(name.endsWith('.json') ? name.slice(0, -'.json'.length) : `${name}.json`);
  });
}
