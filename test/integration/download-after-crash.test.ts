import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createUploadPolicy } from '../../server/policy/upload-policy.ts';
import { ActiveRequests } from '../../server/uploads/active-requests.ts';
import { createConcatenator } from '../../server/uploads/concatenation.ts';
import { sendUpload } from '../../server/uploads/download.ts';
import { createFinisher, recordOf } from '../../server/uploads/finish.ts';
import { RunningDigests } from '../../server/uploads/running-digests.ts';
import type { UploadServices } from '../../server/uploads/upload-hold.ts';
import { openSqliteCatalog } from '../../stores/catalog/sqlite.ts';
import { StoreError } from '../../stores/errors.ts';
import { FileUploadStore } from '../../stores/file/file-store.ts';
import { createMemoryLocker } from '../../stores/locker/memory.ts';
import { StoredUpload, type UploadCatalog } from '../../stores/types.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { freeLock } from '../support/memory-lock.ts';
import { fetchRaw, type LoopbackServer, startLoopbackServer } from '../support/raw-http.ts';

/*
 * A crash takes the catalog's last 20 ms with it, or somebody deletes it; the store has every byte. What was
 * announced as finished is served at once, before the reconciliation at start has come to it.
 */

const CONTENT = Buffer.from('what was announced as finished');

let directory: string;
let store: FileUploadStore;
let catalog: UploadCatalog;
let services: UploadServices;
let server: LoopbackServer;
let waitingForVerification: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-download-'));
  store = new FileUploadStore({ directory: join(directory, 'uploads'), expirationMs: 0, fsync: 'off' });
  catalog = openSqliteCatalog({ path: join(directory, 'catalog.db') });
  waitingForVerification = [];
  const log = pino({ level: 'silent' });
  const locker = createMemoryLocker({ timeoutMs: 1_000 });
  const active = new ActiveRequests(catalog);
  const finisher = createFinisher({
    store,
    catalog,
    verify: 'declared',
    log,
    onVerificationNeeded: (id) => waitingForVerification.push(id),
  });
  const policy = createUploadPolicy({
    maxSizeBytes: undefined,
    allowedTypes: undefined,
    requiredMetadata: undefined,
    maxOpenUploads: undefined,
  });
  services = {
    store,
    catalog,
    locker,
    finisher,
    concatenator: createConcatenator({ store, locker, catalog, finisher, policy, active, log }),
    digests: new RunningDigests(),
    active,
    log,
    policy,
    idleTimeoutMs: 0,
  };
  server = await startLoopbackServer((req, res) => {
    void sendUpload(services, (req.url ?? '').slice(1), req, res, async () => {});
  });
});

afterEach(async () => {
  await server.close();
  await services.active.drain();
  await catalog.close();
  await rm(directory, { recursive: true, force: true });
});

async function storeUpload(
  bytes: Buffer,
  declaredSha256Hex?: string,
  concat?: string,
): Promise<StoredUpload> {
  const upload = await store.create(
    new StoredUpload({
      id: newUploadId(),
      size: CONTENT.length,
      offset: 0,
      rawMetadata: undefined,
      concat,
      ...(declaredSha256Hex === undefined
        ? {}
        : { declaredDigest: { algorithm: 'sha-256', hex: declaredSha256Hex } }),
      createdAtMs: Date.now(),
      isComplete: false,
    }),
  );
  await store.append(upload, Readable.from([Buffer.from(bytes)]), {
    limit: CONTENT.length,
    signal: new AbortController().signal,
    lock: freeLock(),
    idleTimeoutMs: 0,
  });
  return upload;
}

test.each(['no record', 'a record that is still receiving'])('serves a full upload with %s', async (what) => {
  const upload = await storeUpload(CONTENT);
  if (what !== 'no record') await catalog.create({ ...recordOf(upload), offset: 0 });

  const answer = await fetchRaw(server.port, { path: `/${upload.id}` });

  expect(answer.status).toBe(200);
  expect(answer.body.equals(CONTENT)).toBe(true);
  expect(await catalog.get(upload.id)).toMatchObject({ state: 'ready', offset: CONTENT.length });
});

test('verifies a declared digest before it serves', async () => {
  const upload = await storeUpload(CONTENT, '0'.repeat(64));

  const answer = await fetchRaw(server.port, { path: `/${upload.id}` });

  expect(answer.status).toBe(409);
  expect(answer.headers['landfall-error']).toBe('upload_pending');
  expect(waitingForVerification).toEqual([upload.id]);
});

test('does not serve, nor interrupt, what is still being received', async () => {
  const upload = await storeUpload(CONTENT.subarray(0, 5));
  const holder = services.locker.newLock(upload.id);
  let isAskedToRelease = false;
  await holder.lock(new AbortController().signal, () => {
    isAskedToRelease = true;
  });

  const answer = await fetchRaw(server.port, { path: `/${upload.id}` });
  await holder.unlock();

  expect(answer.status).toBe(409);
  expect(answer.headers['landfall-error']).toBe('upload_unfinished');
  expect(isAskedToRelease).toBe(false);
});

describe('while the catalog cannot be asked', () => {
  beforeEach(() => {
    const get = () => Promise.reject(new StoreError('store_unavailable', 'no connection'));
    services.catalog = { ...catalog, get };
  });

  async function expectAnswer(upload: StoredUpload, status: number): Promise<void> {
    const answer = await fetchRaw(server.port, { path: `/${upload.id}` });
    expect(answer.status).toBe(status);
    if (status === 200) expect(answer.body.equals(CONTENT)).toBe(true);
  }

  test('serves what the store knows to be finished', async () => {
    await expectAnswer(await storeUpload(CONTENT), 200);
    await expectAnswer(await storeUpload(CONTENT.subarray(0, 5)), 409);
  });

  test('serves nothing whose verdict only the catalog knows', async () => {
    const upload = await storeUpload(CONTENT);
    await expectAnswer(await storeUpload(CONTENT, '0'.repeat(64)), 503);
    services.policy = createUploadPolicy({
      maxSizeBytes: undefined,
      allowedTypes: ['text/plain'],
      requiredMetadata: undefined,
      maxOpenUploads: undefined,
    });
    await expectAnswer(upload, 503);
  });

  test('serves no partial upload, as ever', async () => {
    await expectAnswer(await storeUpload(CONTENT, undefined, 'partial'), 409);
  });
});
