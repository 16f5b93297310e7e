import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createResumeStore, type ResumeStore, type UnfinishedUpload } from '../../client/resume-store.ts';

const FILES = 'http://127.0.0.1:1080/files';

let directory: string;
let store: ResumeStore;

beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), 'landfall-resume-')), 'state');
  store = createResumeStore(directory);
});
afterEach(() => rm(join(directory, '..'), { recursive: true }));

const uploadOf = (path: string, startedAt = '2026-01-01T00:00:00.000Z'): UnfinishedUpload => ({
  root: 'http://127.0.0.1:1080',
  files: FILES,
  source: { path, size: 5, modifiedNs: '1' },
  metadata: {},
  chunkSizeBytes: 1,
  parts: [{ start: 0, end: 5, url: null }],
  direct: null,
  hasChecksum: false,
  startedAt,
});

test('keeps one upload for each server and file, and forgets what was removed', async () => {
  const one = await store.claim(FILES, '/one');
  const other = await store.claim('http://other/files', '/one');
  expect(await one.load()).toBeUndefined();
  await one.save(uploadOf('/one', '2026-01-02T00:00:00.000Z'));
  await other.save({ ...uploadOf('/one'), files: 'http://other/files' });
  expect(await one.load()).toEqual(uploadOf('/one', '2026-01-02T00:00:00.000Z'));
  expect((await store.list()).map(({ files }) => files)).toEqual(['http://other/files', FILES]);
  await other.remove();
  await other.remove();
  expect((await store.list()).map(({ files }) => files)).toEqual([FILES]);
  await one.release();
  await other.release();
  expect((await readdir(directory)).filter((name) => !name.endsWith('.json'))).toEqual([]);
});

test('a claim is held by one at a time, and free again when it was released', async () => {
  const claim = await store.claim(FILES, '/one');
  await expect(store.claim(FILES, '/one')).rejects.toMatchObject({ code: 'in_use' });
  await claim.release();
  await (await store.claim(FILES, '/one')).release();
});

test('of many that want it at the same time never two have it', async () => {
  let holders = 0;
  let had = 0;
  const tryOnce = async () => {
    const claim = await store.claim(FILES, '/one').catch(() => undefined);
    if (claim === undefined) return;
    holders += 1;
    had += 1;
    expect(holders).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    holders -= 1;
    await claim.release();
  };
  for (let round = 0; round < 5; round++) await Promise.all(Array.from({ length: 8 }, tryOnce));
  await tryOnce();
  expect(had).toBeGreaterThan(0);
});

async function leaveClaim(host: string, pid: number, ageMs: number): Promise<void> {
  await (await store.claim(FILES, '/one')).release(); // makes the directory
  const claim = await store.claim(FILES, '/one');
  const [name = ''] = (await readdir(directory)).filter((each) => each.endsWith('.claim'));
  await claim.release();
  const left = join(directory, `${name.split('.')[0]}.${host}.${pid}.0123456789ab.claim`);
  await writeFile(left, '');
  const at = new Date(Date.now() - ageMs);
  await utimes(left, at, at);
}

test('a claim of a process that is dead, or was not touched for a minute, is none', async () => {
  const here = hostname().replace(/[^A-Za-z0-9-]/g, '-');
  // No process has this number: it is above the kernel's largest.
  await leaveClaim(here, 2 ** 30, 0);
  await (await store.claim(FILES, '/one')).release();
  await leaveClaim(here, process.pid, 61_000);
  await (await store.claim(FILES, '/one')).release();
  expect(await readdir(directory)).toEqual([]);
});

test('of a process on another host only the time tells', async () => {
  await leaveClaim('another-host', 2 ** 30, 1_000);
  await expect(store.claim(FILES, '/one')).rejects.toMatchObject({ code: 'in_use' });
});

test('what is damaged or of another version is not there', async () => {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'a.json'), '{"version": 1, "par');
  await writeFile(join(directory, 'b.json'), JSON.stringify({ version: 2, ...uploadOf('/b') }));
  await writeFile(join(directory, 'c.json'), JSON.stringify({ version: 1, ...uploadOf('/c') }));
  expect((await store.list()).map(({ source }) => source.path)).toEqual(['/c']);
});
