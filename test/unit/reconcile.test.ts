import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { newUploadRecord } from '../../stores/catalog/types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { newUpload } from '../support/stored-uploads.ts';
import { openTestServices, type TestServices } from '../support/test-services.ts';

let services: TestServices;
beforeEach(async () => {
  services = await openTestServices();
});
afterEach(() => services.close());

/** Holds the lock as a request that creates an upload does; says whether it was asked to let go. */
async function holdLock(id: string) {
  const lock = services.backend.locker.newLock(id);
  let isAsked = false;
  await lock.lock(new AbortController().signal, () => {
    isAsked = true;
  });
  return { lock, isAsked: () => isAsked };
}

test('an upload in the middle of its creation is not taken for debris, wherever it is', async () => {
  const { store, catalog } = services.backend;
  const [halfway, onlyRecord] = [newUpload(), newUpload()];
  const holds = [await holdLock(halfway.id), await holdLock(onlyRecord.id)];
  // Its bytes follow in the same request: the file store has its info, and no file for them yet.
  await store.create(halfway, { followingBytes: 5 });
  await catalog.create(newUploadRecord(recordFields(onlyRecord)));

  const reconciled = services.sweeper.reconcile();
  await sleep(200);
  await store.create(onlyRecord);
  await store.removeUpload(halfway.id, holds[0]?.lock as never);
  await store.create(halfway);
  await reconciled;
  expect(holds.map((hold) => hold.isAsked())).toEqual([false, false]);
  for (const { lock } of holds) await lock.unlock();
  expect((await catalog.get(onlyRecord.id))?.state).toBe('receiving');
});

test('what a crash left in the middle of a creation is removed', async () => {
  const { store, catalog } = services.backend;
  const [halfway, onlyRecord] = [newUpload(), newUpload()];
  await store.create(halfway, { followingBytes: 5 });
  await catalog.create(newUploadRecord(recordFields(onlyRecord)));
  await services.sweeper.reconcile();
  await expect(store.getUpload(halfway.id)).rejects.toMatchObject({ code: 'upload_not_found' });
  expect(await catalog.get(onlyRecord.id)).toMatchObject({ state: 'aborted', reasonCode: 'missing' });
});

function recordFields({ id, createdAtMs }: StoredUpload) {
  return { id, createdAtMs, size: 5, rawMetadata: null };
}

test('the end of a rejected upload stays what it is, when it was rejected while somebody looked for it', async () => {
  const { store, catalog } = services.backend;
  const upload = await store.create(newUpload());
  await catalog.create(newUploadRecord(recordFields(upload)));
  const getUpload = store.getUpload.bind(store);
  store.getUpload = async (id) => {
    const found = await getUpload(id);
    await catalog.transition(id, 'receiving', 'rejected', {
      expiresAtMs: 1,
      reasonCode: 'checksum_mismatch',
    });
    return found;
  };
  await services.sweeper.reconcile();
  expect(await catalog.get(upload.id)).toMatchObject({ state: 'rejected', expiresAtMs: 1 });
});
