import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FileUploadStore } from '../../stores/file/file-store.ts';
import { importingContract } from './importing.ts';

async function makeHarness() {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'landfall-import-')));
  const where = join(directory, 'photos');
  await mkdir(where);
  const open = () =>
    new FileUploadStore({ directory: join(directory, 'uploads'), expirationMs: 3600_000, fsync: 'finish' });
  return {
    store: open(),
    reopen: async () => open(),
    where,
    async put(name: string, bytes: Buffer) {
      const path = join(where, name);
      await mkdir(dirname(path), { recursive: true });
      // As programs that save files do: a new file takes the place of the old one.
      await rm(path, { force: true });
      await writeFile(path, bytes);
      return path;
    },
    read: (path: string) => readFile(path).catch(() => undefined),
    remove: (name: string) => rm(join(where, name)),
    close: () => rm(directory, { recursive: true }),
  };
}

importingContract('files', makeHarness, { isShared: false });

let harness: Awaited<ReturnType<typeof makeHarness>>;
beforeEach(async () => {
  harness = await makeHarness();
});
afterEach(() => harness.close());

it('follows no symbolic links, and takes nothing that is no file', async () => {
  const path = await harness.put('a', Buffer.from('x'));
  await symlink(path, join(harness.where, 'link'));
  await symlink('/etc', join(harness.where, 'elsewhere'));
  const names: string[] = [];
  for await (const { name } of harness.store.importing.list(harness.where)) names.push(name);
  expect(names).toEqual([path]);
});

it.each([
  ['a directory that holds the uploads', (where: string) => dirname(where)],
  ['the uploads themselves', (where: string) => join(dirname(where), 'uploads')],
  ['what is not there', (where: string) => join(where, 'nothing')],
])('refuses %s', async (_name, wrong) => {
  const list = harness.store.importing.list(wrong(harness.where));
  await expect(list[Symbol.asyncIterator]().next()).rejects.toThrow(RangeError);
});

it('begins anew after a crash between the bytes and the info', async () => {
  const path = await harness.put('a', Buffer.from('all of it'));
  const adopted = await harness.store.importing.adopt({ name: path, size: 9 });
  const id = 'upload' in adopted ? adopted.upload.id : '';
  const uploads = join(dirname(harness.where), 'uploads');
  await rm(join(uploads, `${id}.json`));
  await rm(join(uploads, id));
  await writeFile(join(uploads, id), 'half');
  await writeFile(join(uploads, `${id}.chunk`), 'half');
  expect((await harness.store.importing.adopt({ name: path, size: 9 })).outcome).toBe('imported');
  expect(await readFile(join(uploads, id), 'utf8')).toBe('all of it');
  expect((await readdir(uploads)).filter((name) => name.endsWith('.chunk'))).toEqual([]);
  expect(await readFile(path, 'utf8')).toBe('all of it');
});

it('does not take disk space twice where it is on one file system', async () => {
  const path = await harness.put('large', Buffer.alloc(8 * 1024 * 1024, 'x'));
  const adopted = await harness.store.importing.adopt({ name: path, size: 0 });
  const id = 'upload' in adopted ? adopted.upload.id : '';
  const [original, own] = [await stat(path), await stat(join(dirname(harness.where), 'uploads', id))];
  const isLinked = original.ino === own.ino;
  const isCloned = !isLinked && own.nlink === 1;
  expect(isLinked || isCloned).toBe(true);
  expect(own.size).toBe(original.size);
});
