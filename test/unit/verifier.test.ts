import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFinisher, type Finisher, recordOf } from '../../server/uploads/finish.ts';
import { createVerifier, type Verifier } from '../../server/uploads/verifier.ts';
import { openSqliteCatalog } from '../../stores/catalog/sqlite.ts';
import { FileUploadStore } from '../../stores/file/file-store.ts';
import { StoredUpload, type UploadCatalog } from '../../stores/types.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { freeLock } from '../support/memory-lock.ts';
import { until } from '../support/redis.ts';

const CONTENT = randomBytesOf('verifier', 300_000);

let directory: string;
let store: FileUploadStore;
let catalog: UploadCatalog;
let finisher: Finisher;
let verifier: Verifier;
let logged: { level: number; msg: string; uploadId: string }[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-verifier-'));
  store = new FileUploadStore({ directory: join(directory, 'uploads'), expirationMs: 0, fsync: 'off' });
  catalog = openSqliteCatalog({ path: join(directory, 'catalog.db') });
  logged = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void logged.push(JSON.parse(line)) });
  verifier = createVerifier({ store, catalog, finisher: () => finisher, log });
  finisher = createFinisher({
    store,
    catalog,
    verify: 'declared',
    log,
    onVerificationNeeded: (id) => verifier.enqueue(id),
  });
});

afterEach(async () => {
  await verifier.close();
  await catalog.close();
  await rm(directory, { recursive: true, force: true });
});

/** An upload that has all its bytes and waits for its digest. */
async function receivedUpload(declaredSha256Hex: string): Promise<StoredUpload> {
  const upload = await store.create(
    new StoredUpload({
      id: newUploadId(),
      size: CONTENT.length,
      offset: 0,
      rawMetadata: undefined,
      declaredDigest: { algorithm: 'sha-256', hex: declaredSha256Hex },
      createdAtMs: Date.now(),
      isComplete: false,
    }),
  );
  await store.append(upload, Readable.from([Buffer.from(CONTENT)]), {
    limit: CONTENT.length,
    signal: new AbortController().signal,
    lock: freeLock(),
    idleTimeoutMs: 0,
  });
  await catalog.create({ ...recordOf(upload), state: 'received' });
  return upload;
}

test.each([
  ['ready', sha256Hex(CONTENT)],
  ['rejected', '0'.repeat(64)],
])('an upload becomes %s by what its bytes hash to', async (state, declared) => {
  const { id } = await receivedUpload(declared);
  verifier.enqueue(id);
  await until(async () => (await catalog.get(id))?.state === state);
  expect((await catalog.get(id))?.sha256).toBe(sha256Hex(CONTENT));
  expect(logged).toEqual([]);
});

test('one that its client deletes while it waits is no error', async () => {
  const { id } = await receivedUpload(sha256Hex(CONTENT));
  const openOriginal = store.openOriginal.bind(store);
  // The DELETE comes between the start of the verification and its first read.
  store.openOriginal = async (asked) => {
    await catalog.transition(asked, 'processing', 'aborted');
    await store.removeUpload(asked);
    return openOriginal(asked);
  };
  verifier.enqueue(id);
  const other = await receivedUpload(sha256Hex(CONTENT));
  await until(async () => (await catalog.get(id))?.state === 'aborted');
  store.openOriginal = openOriginal;
  verifier.enqueue(other.id);

  await until(async () => (await catalog.get(other.id))?.state === 'ready');
  expect((await catalog.get(id))?.state).toBe('aborted');
  expect(logged).toEqual([]);
});

test('bytes that are missing though nobody deleted them are an error', async () => {
  const { id } = await receivedUpload(sha256Hex(CONTENT));
  await store.removeUpload(id);
  verifier.enqueue(id);
  await until(() => logged.length > 0);
  expect(logged).toMatchObject([{ level: 50, msg: 'verification failed', uploadId: id }]);
});
