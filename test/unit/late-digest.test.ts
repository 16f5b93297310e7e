import { EventEmitter } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createUploadPolicy } from '../../server/policy/upload-policy.ts';
import { ActiveRequests } from '../../server/uploads/active-requests.ts';
import { createConcatenator } from '../../server/uploads/concatenation.ts';
import { declareDigest } from '../../server/uploads/declare-digest.ts';
import { createFinisher } from '../../server/uploads/finish.ts';
import { RunningDigests } from '../../server/uploads/running-digests.ts';
import type { UploadServices } from '../../server/uploads/upload-hold.ts';
import { openSqliteCatalog } from '../../stores/catalog/sqlite.ts';
import { FileUploadStore } from '../../stores/file/file-store.ts';
import { createMemoryLocker } from '../../stores/locker/memory.ts';
import { StoredUpload } from '../../stores/types.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { sha256Hex } from '../faults/random.ts';
import { freeLock } from '../support/memory-lock.ts';

/* A digest that is declared while the upload is being verified: it is never believed, and never forgotten. */

const CONTENT = Buffer.from('hello world');
const RIGHT = sha256Hex(CONTENT);
const WRONG = sha256Hex(Buffer.from('something else'));

let directory: string;
let services: UploadServices;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-late-digest-'));
  const store = new FileUploadStore({ directory: join(directory, 'uploads'), expirationMs: 0, fsync: 'off' });
  const catalog = openSqliteCatalog({ path: join(directory, 'catalog.db') });
  const locker = createMemoryLocker({ timeoutMs: 1000 });
  const log = pino({ level: 'silent' });
  // Nobody verifies but the test itself.
  const finisher = createFinisher({ store, catalog, verify: 'always', log, onVerificationNeeded: () => {} });
  const active = new ActiveRequests(catalog);
  const policy = createUploadPolicy({
    maxSizeBytes: undefined,
    allowedTypes: undefined,
    requiredMetadata: undefined,
    maxOpenUploads: undefined,
  });
  const concatenator = createConcatenator({ store, locker, catalog, finisher, policy, active, log });
  const digests = new RunningDigests();
  services = {
    store,
    locker,
    catalog,
    finisher,
    concatenator,
    digests,
    active,
    log,
    policy,
    idleTimeoutMs: 0,
  };
});

afterEach(async () => {
  await services.active.drain();
  await services.catalog.close();
  await services.locker.close();
  await services.store.close();
  await rm(directory, { recursive: true, force: true });
});

/** An upload that has all its bytes and waits for its verification. */
async function receivedUpload(): Promise<string> {
  const upload = await fullUpload();
  expect(await services.finisher.finishUpload(upload, freeLock())).toMatchObject({ state: 'received' });
  return upload.id;
}

async function fullUpload(): Promise<StoredUpload> {
  const { store } = services;
  const planned = new StoredUpload({
    id: newUploadId(),
    size: CONTENT.length,
    offset: 0,
    rawMetadata: undefined,
    createdAtMs: Date.now(),
    isComplete: false,
  });
  const upload = await store.create(planned);
  const signal = new AbortController().signal;
  const options = { limit: CONTENT.length, signal, lock: freeLock(), idleTimeoutMs: 0 };
  await store.append(upload, Readable.from([CONTENT]), options);
  return upload;
}

const declare = (id: string, sha256: string) =>
  declareDigest(services, id, {
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
    await services.catalog.transition(id, 'received', before);
    expect(await declare(id, hex)).toMatchObject({ declaredSha256: hex });
    expect((await services.store.getUpload(id)).declaredDigest?.hex).toBe(hex);
    const settled = await services.finisher.settle(id, RIGHT);
    expect(settled).toMatchObject({ state, sha256: RIGHT, declaredSha256: hex });
  }
});

test('in the moment between the look at the record and its verdict: the verdict is corrected', async () => {
  const id = await receivedUpload();
  const { catalog, finisher } = services;
  const { get } = catalog;
  catalog.get = async (asked) => {
    const record = await get.call(catalog, asked);
    catalog.get = get;
    await declare(id, WRONG);
    return record;
  };
  expect(await finisher.settle(id, RIGHT)).toMatchObject({ state: 'rejected', declaredSha256: WRONG });
  expect(await catalog.get(id)).toMatchObject({
    state: 'rejected',
    sha256: RIGHT,
    reasonCode: 'checksum_mismatch',
  });
});

test('after the verification only the digest that it found is taken', async () => {
  const id = await receivedUpload();
  await services.finisher.settle(id, RIGHT);
  await expect(declare(id, WRONG)).rejects.toMatchObject({ code: 'digest_too_late', status: 409 });
  expect(await declare(id, RIGHT)).toMatchObject({ state: 'ready', sha256: RIGHT });
  expect((await services.store.getUpload(id)).declaredDigest).toBeUndefined();
});

test('one that a crash took from the catalog, and not from the store, is verified', async () => {
  const { store, catalog, finisher } = services;
  const upload = await fullUpload();
  await finisher.ensureRecord(upload);
  await store.declareDigest(upload, { algorithm: 'sha-256', hex: WRONG }, freeLock());
  expect(await catalog.get(upload.id)).toMatchObject({ state: 'receiving', declaredSha256: null });
  const record = await finisher.finishUpload(upload, freeLock(), RIGHT);
  expect(record).toMatchObject({ state: 'rejected', declaredSha256: WRONG, sha256: RIGHT });
});
