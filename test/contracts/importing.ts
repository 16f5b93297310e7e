import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isStoreError } from '../../stores/errors.ts';
import type { ImportingStore, ImportOutcome, ImportSource } from '../../stores/import-types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { UploadStore } from '../../stores/types.ts';
import { freeLock } from '../support/memory-lock.ts';
import { newUpload, readOriginal, readRange } from '../support/stored-uploads.ts';

export interface ImportingHarness {
  store: UploadStore;
  /** A second instance over the same storage, as another process would have. */
  reopen(): Promise<UploadStore>;
  /** Puts something there, as its owner would, and returns the name under which it is imported. */
  put(name: string, bytes: Buffer): Promise<string>;
  read(name: string): Promise<Buffer | undefined>;
  remove(name: string): Promise<void>;
  /** What is imported: a prefix of all names, or a directory. */
  where: string;
  close(): Promise<void>;
}

export interface ImportingOptions {
  /** Bytes are shared with their owner: what happens to the owner's happens to the upload. */
  isShared: boolean;
}

/** What every store promises that can import. */
export function importingContract(
  name: string,
  makeHarness: () => Promise<ImportingHarness>,
  { isShared }: ImportingOptions,
): void {
  describe(`importing: ${name}`, () => {
    let harness: ImportingHarness;
    let store: UploadStore;
    let importing: ImportingStore;
    beforeAll(async () => {
      harness = await makeHarness();
      store = harness.store;
      importing = importingOf(store);
    });
    afterAll(() => harness.close());

    const adopt = async (source: string, by = importing): Promise<ImportOutcome> =>
      by.adopt({ name: source, size: 0 });

    async function adoptNew(source: string, by?: ImportingStore): Promise<StoredUpload> {
      const adopted = await adopt(source, by);
      if (!('upload' in adopted)) throw new Error(`it is ${adopted.outcome}`);
      return adopted.upload;
    }

    it.each([0, 1, 300_000])('makes a finished upload of %i bytes, read where they are', async (size) => {
      const bytes = randomBytes(size);
      const source = await harness.put(`a b/ünï-${size}.bin`, bytes);
      const { outcome } = await adopt(source);
      expect(outcome).toBe('imported');
      const upload = await adoptNew(source);
      expect(upload).toMatchObject({
        size,
        offset: size,
        isComplete: true,
        isFull: true,
        expiresAtMs: undefined,
      });
      expect(metadataOf(upload)).toMatchObject({ filename: `ünï-${size}.bin`, importedFrom: source });
      for (const instance of [store, await harness.reopen()]) {
        expect(await instance.getUpload(upload.id)).toMatchObject({ size, offset: size, isComplete: true });
        expect((await readOriginal(instance, upload.id)).equals(bytes)).toBe(true);
      }
      expect((await harness.read(source))?.equals(bytes)).toBe(true);
    });

    it('gives a range', async () => {
      const bytes = randomBytes(10_000);
      const { id } = await adoptNew(await harness.put('range.bin', bytes));
      const reader = await store.openOriginal(id);
      expect((await readRange(reader, 5000, 5999)).equals(bytes.subarray(5000, 6000))).toBe(true);
      expect(reader.etag).toMatch(/^[\x21\x23-\x7e]+$/);
      await reader.close();
    });

    it('knows it again, from another process and when two import at once', async () => {
      const source = await harness.put('twice.bin', randomBytes(100));
      // A directory belongs to one process, a bucket to many.
      const other = importingOf(isShared ? await harness.reopen() : store);
      const both = await Promise.all([adoptNew(source), adoptNew(source, other)]);
      const again = await adopt(source, importingOf(await harness.reopen()));
      expect(again.outcome).toBe('known');
      expect(new Set([...both, await adoptNew(source)].map(({ id }) => id)).size).toBe(1);
      expect((await readOriginal(store, both[0].id)).length).toBe(100);
    });

    it('has ids that nobody can guess: the same object has another one elsewhere', async () => {
      const second = await makeHarness();
      try {
        const bytes = randomBytes(10);
        const ids: string[] = [];
        for (const each of [harness, second]) {
          const source = await each.put('guess.bin', bytes);
          ids.push((await adoptNew(source, importingOf(each.store))).id);
        }
        expect(ids[0]).toMatch(/^imported-[A-Za-z0-9_-]{32}$/);
        expect(new Set(ids).size).toBe(2);
      } finally {
        await second.close();
      }
    });

    it('deletes the upload and keeps what was there, for good', async () => {
      const bytes = randomBytes(1000);
      const source = await harness.put('deleted.bin', bytes);
      const { id } = await adoptNew(source);
      await store.removeUpload(id, freeLock());
      expect((await harness.read(source))?.equals(bytes)).toBe(true);
      for (const instance of [store, await harness.reopen()]) {
        await instance.sweep?.();
        await expect(instance.openOriginal(id)).rejects.toSatisfy((error) =>
          isStoreError(error, 'upload_not_found'),
        );
        await expect(instance.getUpload(id)).rejects.toSatisfy(isStoreError);
        expect(await adopt(source, importingOf(instance))).toEqual({ outcome: 'deleted' });
      }
      expect((await harness.read(source))?.equals(bytes)).toBe(true);
    });

    it('makes a new upload of what was replaced, and serves nothing under the old one but what it was', async () => {
      const source = await harness.put('replaced.bin', Buffer.from('first'));
      const { id } = await adoptNew(source);
      await harness.put('replaced.bin', Buffer.from('second version'));
      if (isShared) {
        await expect(store.openOriginal(id)).rejects.toSatisfy((error) =>
          isStoreError(error, 'upload_damaged'),
        );
      } else {
        expect((await readOriginal(store, id)).toString()).toBe('first');
      }
      const newer = await adoptNew(source);
      expect(newer.id).not.toBe(id);
      expect((await readOriginal(store, newer.id)).toString()).toBe('second version');
    });

    it('outlives its owner, or says that it is gone', async () => {
      const source = await harness.put('owner-removed.bin', Buffer.from('bytes'));
      const { id } = await adoptNew(source);
      await harness.remove('owner-removed.bin');
      expect(await adopt(source)).toEqual({ outcome: 'gone' });
      if (isShared) {
        await expect(store.openOriginal(id)).rejects.toSatisfy((error) =>
          isStoreError(error, 'upload_not_found'),
        );
        await expect(store.getUpload(id)).rejects.toSatisfy((error) => isStoreError(error, 'upload_gone'));
      } else {
        expect((await readOriginal(store, id)).toString()).toBe('bytes');
      }
    });

    it('takes no bytes', async () => {
      const { id } = await adoptNew(await harness.put('full.bin', Buffer.from('all')));
      const upload = await store.openUpload(id, { for: 'write', requestOffset: 3 }, freeLock());
      expect(upload.isFull).toBe(true);
      await store.complete(upload, freeLock());
      expect((await readOriginal(store, id)).toString()).toBe('all');
    });

    it('is listed and swept like any upload, and lists what is there, without what is ours', async () => {
      const fresh = await makeHarness();
      try {
        const names = [];
        for (const each of ['x.bin', 'deep/er/y.bin', 'deep/z'])
          names.push(await fresh.put(each, randomBytes(7)));
        const ours = await fresh.store.create(newUpload());
        const sources: ImportSource[] = [];
        for await (const source of importingOf(fresh.store).list(fresh.where)) sources.push(source);
        expect(sources.map((source) => source.name).sort()).toEqual(names.sort());
        expect(sources.every((source) => source.size === 7)).toBe(true);
        const ids = [ours.id];
        for (const source of names) ids.push((await adoptNew(source, importingOf(fresh.store))).id);
        await fresh.store.sweep?.();
        const listed: string[] = [];
        for await (const upload of fresh.store.listUploads()) listed.push(upload.id);
        expect(listed.sort()).toEqual(ids.sort());
        const again: string[] = [];
        for await (const { name: each } of importingOf(fresh.store).list(fresh.where)) again.push(each);
        expect(again.sort()).toEqual(names);
      } finally {
        await fresh.close();
      }
    });
  });
}

function importingOf(store: UploadStore): ImportingStore {
  if (store.importing === undefined) throw new Error('the store cannot import');
  return store.importing;
}

function metadataOf(upload: StoredUpload): Record<string, string> {
  const pairs = (upload.rawMetadata ?? '').split(',').map((pair) => pair.split(' '));
  return Object.fromEntries(
    pairs.map(([key, value]) => [key, Buffer.from(value ?? '', 'base64').toString()]),
  );
}
