import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { declareDigest } from '../../server/uploads/declare-digest.ts';
import { sha256Hex } from '../faults/random.ts';
import { freeLock } from '../support/memory-lock.ts';
import { openTestServices, type TestServices } from '../support/test-services.ts';

/* A digest that is declared while the upload is being verified: it is never believed, and never forgotten. */

const CONTENT = Buffer.from('hello world');
const RIGHT = sha256Hex(CONTENT);
const WRONG = sha256Hex(Buffer.from('something else'));

let world: TestServices;

beforeEach(async () => {
  world = await openTestServices({ env: { LANDFALL_VERIFY: 'always' } });
});

afterEach(async () => {
  await world.close();
});

/** An upload that has all its bytes and waits for its verification. */
async function receivedUpload(): Promise<string> {
  const record = await world.finishedUpload(CONTENT);
  expect(record).toMatchObject({ state: 'received' });
  return record.id;
}

const declare = (id: string, sha256: string) =>
  declareDigest(world.uploads, id, {
    raw: { socket: new EventEmitter() } as IncomingMessage,
    headers: {},
    body: { sha256 },
  });

test.each([
  ['the right one', RIGHT, 'ready'],
  ['another one', WRONG, 'rejected'],
])('while the upload waits for its verification, and while that runs: %s', async (_what, hex, state) => {
  for (const before of ['received', 'processing'] as const) {
    const id = await receivedUpload();
    await world.backend.catalog.transition(id, 'received', before);
    expect(await declare(id, hex)).toMatchObject({ declaredSha256: hex });
    expect((await world.backend.store.getUpload(id)).declaredDigest?.hex).toBe(hex);
    await world.runJob(id);
    expect(await world.record(id)).toMatchObject({ state, sha256: RIGHT, declaredSha256: hex });
  }
});

/** Does something in the middle of the next job: when it opens the original. */
function duringTheJob(task: () => Promise<unknown>): void {
  const { store } = world.backend;
  const { openOriginal } = store;
  store.openOriginal = async (id) => {
    store.openOriginal = openOriginal;
    await task();
    return openOriginal.call(store, id);
  };
}

test('while the verification reads: it is left to the job that came with the digest', async () => {
  const id = await receivedUpload();
  const jobs = await world.afterwards.pipeline.counts();
  duringTheJob(() => declare(id, WRONG));
  await world.runJob(id);
  expect(await world.record(id)).toMatchObject({ state: 'received', declaredSha256: WRONG });
  expect(jobs.waiting).toBe(1);
  await world.runJob(id);
  expect(await world.record(id)).toMatchObject({
    state: 'rejected',
    sha256: RIGHT,
    reasonCode: 'checksum_mismatch',
  });
});

test('while the verification reads, and another run of it has begun: the verdict is corrected', async () => {
  const id = await receivedUpload();
  duringTheJob(async () => {
    await declare(id, WRONG);
    await world.backend.catalog.transition(id, 'received', 'processing');
  });
  await world.runJob(id);
  expect(await world.record(id)).toMatchObject({ state: 'rejected', sha256: RIGHT, declaredSha256: WRONG });
});

test('after the verification only the digest that it found is taken', async () => {
  const id = await receivedUpload();
  await world.runJob(id);
  await expect(declare(id, WRONG)).rejects.toMatchObject({ code: 'digest_too_late', status: 409 });
  expect(await declare(id, RIGHT)).toMatchObject({ state: 'ready', sha256: RIGHT });
  expect((await world.backend.store.getUpload(id)).declaredDigest).toBeUndefined();
});

test('one that a crash took from the catalog, and not from the store, is verified', async () => {
  const { store, catalog } = world.backend;
  const { finisher } = world.uploads;
  const upload = await world.storeUpload(CONTENT);
  await finisher.ensureRecord(upload);
  await store.declareDigest(upload, { algorithm: 'sha-256', hex: WRONG }, freeLock());
  expect(await catalog.get(upload.id)).toMatchObject({ state: 'receiving', declaredSha256: null });
  const record = await finisher.finishUpload(upload, freeLock(), { sha256: RIGHT });
  expect(record).toMatchObject({ state: 'rejected', declaredSha256: WRONG, sha256: RIGHT });
});
