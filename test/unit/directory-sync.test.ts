import fs from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createDirectorySync } from '../../stores/file/directory-sync.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-sync-'));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await rm(directory, { recursive: true, force: true });
});

/** Holds every fsync back until it is told how it ended. */
function holdFsync() {
  const held: ((error: NodeJS.ErrnoException | null) => void)[] = [];
  vi.spyOn(fs, 'fsync').mockImplementation((_fd, callback) => void held.push(callback));
  return held;
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 20));

test('who comes while a sync is running waits for the next one, and shares it', async () => {
  const held = holdFsync();
  const sync = createDirectorySync(directory);
  const settled: string[] = [];
  const call = (name: string) => void sync.sync().then(() => settled.push(name));
  call('first');
  await turn();
  call('second');
  call('third');
  await turn();
  expect(held).toHaveLength(1);
  held[0]?.(null);
  await turn();
  expect([settled, held.length]).toEqual([['first'], 2]);
  held[1]?.(null);
  await turn();
  expect([settled, held.length]).toEqual([['first', 'second', 'third'], 2]);
  await sync.close();
});

test('a failure is told to those who shared it, and to nobody after them', async () => {
  const held = holdFsync();
  const sync = createDirectorySync(directory);
  const first = sync.sync();
  await turn();
  const second = sync.sync();
  const failure = Object.assign(new Error('no disk'), { code: 'EIO' });
  const firstFails = expect(first).rejects.toBe(failure);
  held[0]?.(failure);
  await firstFails;
  await turn();
  held[1]?.(null);
  await second;
  await sync.close();
});

test('a directory that cannot be opened now can be later', async () => {
  const path = join(directory, 'later');
  const sync = createDirectorySync(path);
  await expect(sync.sync()).rejects.toMatchObject({ code: 'ENOENT' });
  await mkdir(path);
  await sync.sync();
  await sync.close();
});

test('closing gives the descriptor back, and is safe twice', async () => {
  const sync = createDirectorySync(directory);
  const openBefore = (await readdir('/proc/self/fd')).length;
  await Promise.all([sync.sync(), sync.sync(), sync.sync()]);
  expect((await readdir('/proc/self/fd')).length).toBe(openBefore + 1);
  await sync.close();
  await sync.close();
  expect((await readdir('/proc/self/fd')).length).toBe(openBefore);
});
