import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isStoreError } from '../../stores/errors.ts';
import { FileUploadStore } from '../../stores/file/file-store.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { appendBytes, newUpload } from '../support/stored-uploads.ts';

/* What crashes and full disks leave behind in the directory, and that it can be told from damage. */

let directory: string;
let store: FileUploadStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-debris-'));
  store = new FileUploadStore({ directory, expirationMs: 0, fsync: 'off' });
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function problemsFound(): Promise<Record<string, string>> {
  const problems: Record<string, string> = {};
  const onDamaged = (id: string, error: unknown) => {
    problems[id] = isStoreError(error) ? error.code : String(error);
  };
  for await (const upload of store.listUploads(onDamaged)) expect(upload.id).toMatch(/./);
  return problems;
}

test.each([
  ['torn', '{"version":1,"id":"'],
  ['empty', ''],
])('an info file without bytes is gone, not damaged, also when it is %s', async (_what, text) => {
  const id = newUploadId();
  await writeFile(join(directory, `${id}.json`), text);

  expect(await problemsFound()).toEqual({ [id]: 'upload_gone' });
  await expect(store.getUpload(id)).rejects.toMatchObject({ code: 'upload_gone' });

  await store.removeUpload(id);
  expect(await readdir(directory)).toEqual([]);
});

test('a torn info file beside bytes is damage, and stays', async () => {
  const id = newUploadId();
  await writeFile(join(directory, `${id}.json`), '{"version":1');
  await writeFile(join(directory, id), 'bytes');

  expect(await problemsFound()).toEqual({ [id]: 'upload_damaged' });
  expect((await readdir(directory)).sort()).toEqual([id, `${id}.json`].sort());
});

test('removing takes what a half-done change of the info has left', async () => {
  const upload = await store.create(newUpload());
  await writeFile(join(directory, `${upload.id}.json.new`), '{"vers');

  await store.removeUpload(upload.id);
  expect(await readdir(directory)).toEqual([]);
});

test('a creation that meets the files of another one changes nothing', async () => {
  const upload = await store.create(newUpload());
  await appendBytes(store, upload, Buffer.from('12345'));

  await expect(store.create(newUpload({ id: upload.id }))).rejects.toMatchObject({
    code: 'store_unavailable',
  });
  expect(await store.getUpload(upload.id)).toMatchObject({ offset: 5, size: 5 });
});

test('a check leaves nothing behind, nor does one that was killed', async () => {
  await writeFile(join(directory, '.check'), '');
  await Promise.all([store.check(), store.check()]);
  expect(await readdir(directory)).toEqual([]);
});
