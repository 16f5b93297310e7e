import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createNewFilesWriter, type NewFilesWriter } from '../../stores/file/new-files.ts';

let directory: string;
let writer: NewFilesWriter;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-new-files-'));
  writer = createNewFilesWriter({ directory, isSynced: true });
});

afterEach(async () => {
  await writer.close();
  await rm(directory, { recursive: true, force: true });
});

function newFiles(id: string, text: string) {
  const data = [Buffer.from(text.slice(0, 2)), Buffer.from(text.slice(2))];
  return { id, info: JSON.stringify({ id, name: 'ü' }), data, size: Buffer.byteLength(text) };
}

async function expectFiles(id: string, text: string): Promise<void> {
  expect(await readFile(join(directory, id), 'utf8')).toBe(text);
  expect(JSON.parse(await readFile(join(directory, `${id}.json`), 'utf8'))).toEqual({ id, name: 'ü' });
}

test('many at once, more than go into a batch', async () => {
  const ids = Array.from({ length: 200 }, (_, index) => `upload-${index}`);
  const written = await Promise.all(ids.map((id) => writer.write(newFiles(id, `content of ${id}`))));
  expect(written).toEqual(ids.map(() => true));
  for (const id of ids) await expectFiles(id, `content of ${id}`);
  expect(await readdir(directory)).toHaveLength(2 * ids.length);
});

test('a batch has an end in bytes, too, and one that is longer goes alone', async () => {
  const long = 'x'.repeat(5_000_000);
  const written = ['a', 'b', 'c'].map((id) => writer.write(newFiles(id, id + long)));
  expect(await Promise.all(written)).toEqual([true, true, true]);
  for (const id of ['a', 'b', 'c']) await expectFiles(id, id + long);
});

test.each(['taken', 'taken.json'])(
  '%s is there already: it stays as it is, and others are written',
  async (name) => {
    await writeFile(join(directory, name), 'older');
    const written = await Promise.all(
      ['first', 'taken', 'last'].map((id) => writer.write(newFiles(id, `of ${id}`))),
    );
    expect(written).toEqual([true, false, true]);
    expect(await readFile(join(directory, name), 'utf8')).toBe('older');
    expect((await readdir(directory)).filter((entry) => entry.startsWith('taken'))).toEqual([name]);
    for (const id of ['first', 'last']) await expectFiles(id, `of ${id}`);
  },
);

test('where nothing can be written nothing is, and it goes on once that is over', async () => {
  await rm(directory, { recursive: true });
  expect(await Promise.all(['a', 'b'].map((id) => writer.write(newFiles(id, 'text'))))).toEqual([
    false,
    false,
  ]);
  await mkdir(directory);
  expect(await writer.write(newFiles('c', 'text'))).toBe(true);
  await expectFiles('c', 'text');
});

test('closing waits for what was asked for; afterwards nothing is written', async () => {
  const written = Promise.all(['a', 'b', 'c'].map((id) => writer.write(newFiles(id, 'text'))));
  await writer.close();
  expect(await written).toEqual([true, true, true]);
  expect(await writer.write(newFiles('d', 'text'))).toBe(false);
  expect(await readdir(directory)).toHaveLength(6);
});
