import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isStoreError } from '../../stores/errors.ts';
import { openFilePreviews } from '../../stores/previews/file.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { previewStoreContract } from './preview-store.ts';

previewStoreContract('files', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-previews-'));
  const store = await openFilePreviews({ directory, isSynced: true });
  return {
    store,
    reopen: () => openFilePreviews({ directory, isSynced: true }),
    storedNames: (uploadId) => readdir(join(directory, uploadId)).catch(() => []),
    async close() {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
});

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-previews-'));
});
afterEach(() => rm(directory, { recursive: true }));

it('removes what a crash left half written or half removed, when it is opened', async () => {
  await mkdir(join(directory, '.new', 'removed'), { recursive: true });
  await writeFile(join(directory, '.new', 'half'), 'half');
  await writeFile(join(directory, '.new', 'removed', 'preview-00.webp'), 'x');
  const store = await openFilePreviews({ directory, isSynced: true });
  expect(await readdir(join(directory, '.new'))).toEqual([]);
  await store.close();
});

it('leaves nothing half written when the disk refuses', async () => {
  const store = await openFilePreviews({ directory, isSynced: true });
  const id = newUploadId();
  // A file where the upload's directory should be.
  await writeFile(join(directory, id), '');
  const path = join(directory, 'input');
  await writeFile(path, randomBytes(10));
  const file = { name: 'preview-00.webp', contentType: 'image/webp', size: 10 };
  await expect(store.put(id, file, path)).rejects.toSatisfy((error) =>
    isStoreError(error, 'store_unavailable'),
  );
  expect(await readdir(join(directory, '.new'))).toEqual([]);
  await store.close();
});
