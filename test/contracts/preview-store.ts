import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isStoreError } from '../../stores/errors.ts';
import type { PreviewFile, PreviewStore } from '../../stores/previews/types.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { readRange } from '../support/stored-uploads.ts';

export interface PreviewStoreHarness {
  store: PreviewStore;
  /** A second instance over the same storage, as after a restart. */
  reopen(): Promise<PreviewStore>;
  /** Everything that is stored of an upload: the names, without what they begin with. */
  storedNames(uploadId: string): Promise<string[]>;
  close(): Promise<void>;
}

/** What every preview store promises. */
export function previewStoreContract(name: string, makeHarness: () => Promise<PreviewStoreHarness>): void {
  describe(`PreviewStore contract: ${name}`, () => {
    let harness: PreviewStoreHarness;
    let store: PreviewStore;
    let directory: string;
    beforeAll(async () => {
      harness = await makeHarness();
      store = harness.store;
      directory = await mkdtemp(join(tmpdir(), 'landfall-previews-'));
    });
    afterAll(async () => {
      await harness.close();
      await rm(directory, { recursive: true });
    });

    /** A local file and what the pipeline would call it. */
    async function makeFile(bytes: Buffer, contentType = 'image/webp') {
      const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
      const file: PreviewFile = { name: `preview-${hash}.webp`, contentType, size: bytes.length };
      const path = join(directory, file.name);
      await writeFile(path, bytes);
      return { file, path };
    }

    async function putNew(uploadId: string, bytes = randomBytes(1000)): Promise<PreviewFile> {
      const { file, path } = await makeFile(bytes);
      await store.put(uploadId, file, path);
      return file;
    }

    it.each([1, 1000, 300_000, 6_000_000])('gives back %i bytes exactly, whole and in part', async (size) => {
      const bytes = randomBytes(size);
      const id = newUploadId();
      const file = await putNew(id, bytes);
      for (const instance of [store, await harness.reopen()]) {
        const reader = await instance.open(id, file.name);
        expect(reader.size).toBe(size);
        expect(reader.etag).toMatch(/^[\x21\x23-\x7e]+$/);
        expect(Math.abs(reader.modifiedAtMs - Date.now())).toBeLessThan(60_000);
        expect((await readRange(reader, 0, size - 1)).equals(bytes)).toBe(true);
        const middle = Math.floor(size / 2);
        expect((await readRange(reader, middle, middle)).equals(bytes.subarray(middle, middle + 1))).toBe(
          true,
        );
        expect((await readRange(reader, middle, size - 1)).equals(bytes.subarray(middle))).toBe(true);
        await reader.close();
      }
    });

    it('has the same entity tag for the same content, and another for another', async () => {
      const [id, bytes] = [newUploadId(), randomBytes(50)];
      const names = [await putNew(id, bytes), await putNew(id), await putNew(newUploadId(), bytes)].map(
        (file) => file.name,
      );
      const tags = await Promise.all(
        names.slice(0, 2).map(async (file) => {
          const reader = await store.open(id, file);
          await reader.close();
          return reader.etag;
        }),
      );
      expect(new Set(tags).size).toBe(2);
      expect(names[2]).toBe(names[0]);
    });

    it('takes the same file twice, and from two at once', async () => {
      const [id, bytes] = [newUploadId(), randomBytes(5000)];
      const { file, path } = await makeFile(bytes);
      await Promise.all([store.put(id, file, path), store.put(id, file, path)]);
      await store.put(id, file, path);
      const reader = await store.open(id, file.name);
      expect((await readRange(reader, 0, 4999)).equals(bytes)).toBe(true);
      await reader.close();
      expect(await harness.storedNames(id)).toEqual([file.name]);
    });

    it('keeps a copy: what happens to the local file afterwards changes nothing', async () => {
      const [id, bytes] = [newUploadId(), randomBytes(5000)];
      const { file, path } = await makeFile(bytes);
      await store.put(id, file, path);
      await writeFile(path, randomBytes(5000));
      const reader = await store.open(id, file.name);
      expect((await readRange(reader, 0, 4999)).equals(bytes)).toBe(true);
      await reader.close();
    });

    it('refuses a file that is not as long as it should be, and leaves nothing of it', async () => {
      const id = newUploadId();
      const { file, path } = await makeFile(randomBytes(100));
      const refused = store.put(id, { ...file, size: 101 }, path);
      await expect(refused).rejects.toSatisfy((error) => isStoreError(error, 'upload_damaged'));
      expect(await harness.storedNames(id)).toEqual([]);
    });

    it('keeps the manifest, the newest one, and only the files that it names', async () => {
      const id = newUploadId();
      expect(await store.getManifest(id)).toBeUndefined();
      const [first, second, third] = [await putNew(id), await putNew(id), await putNew(id)];
      await store.putManifest(id, '{"a":"ä"}', [first.name, second.name]);
      expect(await store.getManifest(id)).toBe('{"a":"ä"}');
      expect((await harness.storedNames(id)).sort()).toEqual(
        ['manifest.json', first.name, second.name].sort(),
      );
      await expect(store.open(id, third.name)).rejects.toSatisfy((error) =>
        isStoreError(error, 'upload_not_found'),
      );
      const long = JSON.stringify({ text: 'x'.repeat(10_000) });
      await store.putManifest(id, long, [second.name]);
      expect(await (await harness.reopen()).getManifest(id)).toBe(long);
      expect((await harness.storedNames(id)).sort()).toEqual(['manifest.json', second.name].sort());
    });

    it('takes a manifest of an upload that has no previews', async () => {
      const id = newUploadId();
      await store.putManifest(id, '{}', []);
      expect(await store.getManifest(id)).toBe('{}');
    });

    it('removes everything of one upload and nothing of another, and says nothing where there is nothing', async () => {
      const [id, other] = [newUploadId(), newUploadId()];
      const kept = await putNew(other);
      await store.putManifest(id, '{}', [(await putNew(id)).name]);
      await putNew(id);
      await store.removeAll(id);
      await store.removeAll(id);
      await store.removeAll(newUploadId());
      expect(await harness.storedNames(id)).toEqual([]);
      expect(await store.getManifest(id)).toBeUndefined();
      expect(await harness.storedNames(other)).toEqual([kept.name]);
      await putNew(id);
      expect(await harness.storedNames(id)).toHaveLength(1);
    });

    it('lists each upload that has anything, once, with or without a manifest', async () => {
      const [withManifest, debris, removed] = [newUploadId(), newUploadId(), newUploadId()];
      await store.putManifest(withManifest, '{}', [(await putNew(withManifest)).name]);
      for (let count = 0; count < 3; count += 1) await putNew(debris);
      await putNew(removed);
      await store.removeAll(removed);
      const listed: string[] = [];
      for await (const id of store.listUploads()) listed.push(id);
      expect(new Set(listed).size).toBe(listed.length);
      expect(listed).toEqual(expect.arrayContaining([withManifest, debris]));
      expect(listed).not.toContain(removed);
    });

    it.each(['../secret', 'a/b', '', '.', 'manifest.json', 'UPPER.webp', 'x'.repeat(81), 'a\0b'])(
      'takes %j for the name of no preview',
      async (bad) => {
        const id = newUploadId();
        await putNew(id);
        await store.putManifest(id, '{}', []);
        const { path } = await makeFile(randomBytes(3));
        const isNotFound = (error: unknown) => isStoreError(error, 'upload_not_found');
        await expect(store.open(id, bad)).rejects.toSatisfy(isNotFound);
        const file = { name: bad, contentType: 'image/webp', size: 3 };
        await expect(store.put(id, file, path)).rejects.toSatisfy(isNotFound);
      },
    );

    it.each(['..', '../x', 'short', ''])('takes %j for the id of no upload', async (bad) => {
      const isNotFound = (error: unknown) => isStoreError(error, 'upload_not_found');
      await expect(store.open(bad, 'preview-00.webp')).rejects.toSatisfy(isNotFound);
      expect(await store.getManifest(bad)).toBeUndefined();
      await store.removeAll(bad);
    });

    it('does not find what is not there', async () => {
      const id = newUploadId();
      const isNotFound = (error: unknown) => isStoreError(error, 'upload_not_found');
      await expect(store.open(id, 'preview-00.webp')).rejects.toSatisfy(isNotFound);
      await putNew(id);
      await expect(store.open(id, 'preview-00.webp')).rejects.toSatisfy(isNotFound);
    });
  });
}
