import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createUploadPolicy } from '../../server/policy/upload-policy.ts';
import { sendUpload } from '../../server/uploads/download.ts';
import { recordOf } from '../../server/uploads/finish.ts';
import type { UploadServices } from '../../server/uploads/upload-services.ts';
import { StoreError } from '../../stores/errors.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { fetchRaw, type LoopbackServer, startLoopbackServer } from '../support/raw-http.ts';
import { openTestServices, type TestServices } from '../support/test-services.ts';

/*
 * A crash takes the catalog's last 50 ms with it, or somebody deletes it; the store has every byte. What was
 * announced as finished is served at once, before the reconciliation at start has come to it.
 */

const CONTENT = Buffer.from('what was announced as finished');

let world: TestServices;
let services: UploadServices;
let server: LoopbackServer;

beforeEach(async () => {
  world = await openTestServices();
  services = { ...world.uploads };
  server = await startLoopbackServer((req, res) => {
    void sendUpload(services, (req.url ?? '').slice(1), req, res, async () => {});
  });
});

afterEach(async () => {
  await server.close();
  await world.close();
});

/** @param bytes fewer than CONTENT: the upload is not full */
function storeUpload(bytes: Buffer, declaredSha256Hex?: string, concat?: string): Promise<StoredUpload> {
  return world.storeUpload(bytes, {
    size: CONTENT.length,
    ...(concat === undefined ? {} : { concat }),
    ...(declaredSha256Hex === undefined
      ? {}
      : { declaredDigest: { algorithm: 'sha-256', hex: declaredSha256Hex } }),
  });
}

test.each(['no record', 'a record that is still receiving'])('serves a full upload with %s', async (what) => {
  const upload = await storeUpload(CONTENT);
  if (what !== 'no record') await services.catalog.create({ ...recordOf(upload), offset: 0 });

  const answer = await fetchRaw(server.port, { path: `/${upload.id}` });

  expect(answer.status).toBe(200);
  expect(answer.body.equals(CONTENT)).toBe(true);
  expect(await services.catalog.get(upload.id)).toMatchObject({ state: 'received', offset: CONTENT.length });
});

test('verifies a declared digest before it serves', async () => {
  const upload = await storeUpload(CONTENT, '0'.repeat(64));

  const answer = await fetchRaw(server.port, { path: `/${upload.id}` });

  expect(answer.status).toBe(409);
  expect(answer.headers['landfall-error']).toBe('upload_pending');
  expect((await world.afterwards.pipeline.counts()).waiting).toBe(1);
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
    services.catalog = { ...services.catalog, get };
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
