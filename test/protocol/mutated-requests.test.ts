import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CONTENT, type MutationTarget, mutatedRequest } from '../support/mutated-request.ts';
import { createRandom, type Random } from '../support/random.ts';
import { sendRaw } from '../support/raw-request.ts';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, patch, request, TUS } from '../support/tus.ts';

/*
 * 2,000 requests, each made from a valid one by a few random changes to its head, its framing or its body, and sent
 * as raw bytes. None may produce a 500, a hang, a crash, or a change of stored bytes that its answer does not explain.
 * LANDFALL_TEST_SEED runs another sequence; a failure names the request.
 */

const REQUESTS = 2_000;
const SEED = Number(process.env.LANDFALL_TEST_SEED ?? 20_240_601);

let server: RunningServer;
let port: number;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_IDLE_TIMEOUT: '300ms', LANDFALL_MAX_SIZE: '1MiB' } });
  port = Number(new URL(server.origin).port);
});
afterAll(async () => {
  await server.stop();
});

interface Target extends MutationTarget {
  url: string;
  id: string;
}

async function newTarget(random: Random): Promise<Target> {
  const url = await createUpload(server.filesUrl, random.chance(0.3) ? 'deferred' : CONTENT.length);
  const offset = random.chance(0.5) ? random.below(CONTENT.length - 1) : 0;
  if (offset > 0) await patch(url, 0, CONTENT.subarray(0, offset));
  return { url, path: new URL(url).pathname, id: url.slice(url.lastIndexOf('/') + 1), offset };
}

function read(name: string): Buffer | undefined {
  try {
    return readFileSync(join(server.dataDir, 'uploads', name));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Sockets and upload files that the server has open. */
function openDescriptors(): string[] {
  return readdirSync(`/proc/${server.pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${server.pid}/fd/${fd}`);
      return target.startsWith('socket:') || target.includes('/uploads/') ? [target] : [];
    } catch {
      return [];
    }
  });
}

it(`${REQUESTS} mutated requests (seed ${SEED}): no 500, no hang, no crash, no byte changed without cause`, async () => {
  const random = createRandom(SEED);
  const finished = await createUpload(server.filesUrl, CONTENT.length);
  await patch(finished, 0, CONTENT);
  const unfinished = await createUpload(server.filesUrl, CONTENT.length);
  await patch(unfinished, 0, CONTENT.subarray(0, 1_000));
  const bystanders = [finished, unfinished].flatMap((url) => {
    const id = url.slice(url.lastIndexOf('/') + 1);
    return [id, `${id}.json`];
  });
  const before = bystanders.map(read);
  const descriptorsBefore = openDescriptors().length;
  const statuses = new Map<number, number>();

  let target = await newTarget(random);
  for (let index = 0; index < REQUESTS; index++) {
    const bytes = mutatedRequest(random, target);
    const bytesBefore = read(target.id) as Buffer;
    const infoBefore = read(`${target.id}.json`) as Buffer;
    const context = `request ${index} of seed ${SEED}: ${JSON.stringify(bytes.toString('latin1').slice(0, 600))}`;

    // Some wait, so that the server has to give up on a body first, or, on a head, hears the end of it.
    const reply = await sendRaw(port, bytes, { halfCloseAfterMs: random.chance(0.8) ? 0 : 600 });
    const status = reply?.status ?? 0;
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    expect(status === 0 || status < 500 || status === 501, `${status} to ${context}`).toBe(true);

    // What the client was not told may still be under way: HEAD waits for it, and tells.
    const found = await head(target.url);
    const bytesAfter = read(target.id);
    if (bytesAfter === undefined) {
      // 400: the framing of its body broke after the head had been acted on.
      expect([status, found.status], context).toEqual([expect.toBeOneOf([0, 204, 400]), 410]);
      expect(bytes.toString('latin1'), context).toMatch(/delete/i);
      expect(read(`${target.id}.json`)).toBeUndefined();
      target = await newTarget(random);
      continue;
    }
    expect([found.status, found.headers['upload-offset']], context).toEqual([200, String(bytesAfter.length)]);
    // Never shorter, never rewritten; what is new came in this request, in one piece.
    expect(bytesAfter.subarray(0, bytesBefore.length).equals(bytesBefore), context).toBe(true);
    const added = bytesAfter.subarray(bytesBefore.length);
    if (added.length > 0) {
      expect(bytes.includes(added), context).toBe(true);
      expect([0, 204, 400, 408, 413, 423], context).toContain(status);
    }
    if (!read(`${target.id}.json`)?.equals(infoBefore)) {
      expect([status, bytes.toString('latin1')], context).toEqual([
        expect.toBeOneOf([0, 204, 400, 408, 413]),
        expect.stringMatching(/upload-length/i),
      ]);
    }
    const isFull = found.headers['upload-length'] === found.headers['upload-offset'];
    target = isFull || added.length > 0 || random.chance(0.02) ? await newTarget(random) : target;
  }

  expect(bystanders.map(read)).toEqual(before);
  expect((await request('GET', finished)).body.equals(CONTENT)).toBe(true);
  expect((await patch(unfinished, 1_000, CONTENT.subarray(1_000))).status).toBe(204);
  expect((await request('GET', unfinished)).body.equals(CONTENT)).toBe(true);
  expect((await request('GET', `${server.origin}/health/ready`)).status).toBe(200);
  expect((await request('OPTIONS', server.filesUrl, TUS)).status).toBe(204);
  // Both kinds were really there: requests that work, and requests of every sort that do not.
  expect(statuses.get(204) ?? 0).toBeGreaterThan(100);
  for (const status of [201, 400, 404, 405, 409, 412, 415]) {
    expect([status, statuses.get(status) ?? 0]).toEqual([
      status,
      expect.toSatisfy((count: number) => count > 5),
    ]);
  }
  expect(server.output()).not.toMatch(/"level":(50|60)/);
  await until(() => openDescriptors().length <= descriptorsBefore + 2);
}, 120_000);
