import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { FileUploadStore } from '../../stores/file/file-store.ts';

// @tus/file-store makes the directory once more, behind its constructor's back, and throws into nowhere.
test('a directory that goes away just after the start does not end the process', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-directory-'));
  const store = new FileUploadStore({ directory: join(directory, 'uploads'), expirationMs: 0, fsync: 'off' });
  rmSync(directory, { recursive: true });
  writeFileSync(directory, 'a file is in the way');
  await sleep(100);
  expect(readFileSync(directory, 'utf8')).toBe('a file is in the way');
  await expect(store.check()).rejects.toMatchObject({ code: 'store_unavailable' });
  await store.close();
  rmSync(directory);
});
