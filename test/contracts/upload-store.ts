import { createHash, randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isStoreError } from '../../stores/errors.ts';
import type { StoredUpload, StoredUploadFields } from '../../stores/stored-upload.ts';
import type { AppendOptions, BodyChecksum, CreateOptions, UploadStore } from '../../stores/types.ts';
import { freeLock } from '../support/memory-lock.ts';
import { appendOptions, newUpload, readOriginal, readRange } from '../support/stored-uploads.ts';

export interface UploadStoreHarness {
  store: UploadStore;
  /** A second instance over the same storage, as a restarted or another process would have. */
  reopen(): Promise<UploadStore>;
  /** Moves the store's clock forward, so that unfinished uploads expire. */
  passTime(ms: number): void;
  /** Names of everything that is stored, for "nothing is left behind". */
  storedNames(): Promise<string[]>;
  /** The longest body with a checksum that this store takes, in bytes. */
  mostVerifiedBytes: number;
  close(): Promise<void>;
}

export interface UploadStoreContractOptions {
  expirationMs: number;
  /** Sizes around which the store behaves differently (its part size…), in bytes. */
  interestingSizes: number[];
}

/** What every store promises. `makeHarness` gives a store that is empty. */
export function uploadStoreContract(
  name: string,
  makeHarness: () => Promise<UploadStoreHarness>,
  { expirationMs, interestingSizes }: UploadStoreContractOptions,
): void {
  describe(`UploadStore contract: ${name}`, () => {
    let harness: UploadStoreHarness;
    let store: UploadStore;
    beforeAll(async () => {
      harness = await makeHarness();
      store = harness.store;
    });
    afterAll(() => harness.close());

    const create = (fields: Partial<StoredUploadFields> = {}, options?: CreateOptions) =>
      store.create(newUpload({ size: 10, ...fields }), options);

    it('gives back what was created, from another process too', async () => {
      const rawMetadata = 'filename d29ybGQ=,empty,constructor eA==,binary //79';
      const digest = { algorithm: 'sha-256' as const, hex: 'ab'.repeat(32) };
      const { id } = await create({ size: 7, rawMetadata, declaredDigest: digest });
      for (const instance of [store, await harness.reopen()]) {
        const upload = await instance.getUpload(id);
        expect(upload).toMatchObject({ id, size: 7, offset: 0, rawMetadata, isComplete: false });
        expect(upload.declaredDigest).toEqual(digest);
        expect(upload.isFull).toBe(false);
      }
    });

    it.each([...interestingSizes, 0, 1])('stores %i bytes exactly, in one append', async (size) => {
      const content = randomBytes(size);
      const upload = await create({ size });
      const result = await append(store, upload, [content]);
      expect(result).toEqual({ offset: size, end: 'end' });
      expect(upload.isFull).toBe(true);
      await store.complete(upload, freeLock());
      expect(upload.isComplete).toBe(true);
      expectSameBytes(await readOriginal(store, upload.id), content);
      expectSameBytes(await readOriginal(await harness.reopen(), upload.id), content);
    });

    it.each(interestingSizes)(
      'stores %i bytes exactly in uneven appends by changing processes',
      async (size) => {
        const content = randomBytes(size);
        const { id } = await create({ size });
        let offset = 0;
        for (let step = 0; offset < size; step += 1) {
          const instance = step % 2 === 0 ? store : await harness.reopen();
          const upload = await instance.openUpload(id, { for: 'write', requestOffset: offset }, freeLock());
          expect(upload.offset).toBe(offset);
          const length = Math.min(size - offset, 1 + Math.floor((size * (1 + (step % 3))) / 5));
          const result = await append(instance, upload, [content.subarray(offset, offset + length)]);
          offset += length;
          expect(result.offset).toBe(offset);
          expect((await (await harness.reopen()).getUpload(id)).offset).toBe(offset);
        }
        const upload = await store.openUpload(id, { for: 'read' }, freeLock());
        expect(upload.isFull).toBe(true);
        await store.complete(upload, freeLock());
        expectSameBytes(await readOriginal(store, id), content);
      },
    );

    it('completes twice, and from another process, without changing anything', async () => {
      const content = randomBytes(1000);
      const upload = await create({ size: 1000 });
      await append(store, upload, [content]);
      await store.complete(upload, freeLock());
      const other = await harness.reopen();
      const again = await other.openUpload(upload.id, { for: 'read' }, freeLock());
      expect(again).toMatchObject({ offset: 1000, size: 1000, isComplete: true });
      await other.complete(again, freeLock());
      await store.complete(upload, freeLock());
      expectSameBytes(await readOriginal(store, upload.id), content);
    });

    it('keeps every byte that arrived when the client goes away', async () => {
      const content = randomBytes(300_000);
      const upload = await create({ size: 1_000_000 });
      const body = new PassThrough();
      body.write(content);
      setTimeout(() => body.destroy(new Error('aborted')), 50);
      const result = await store.append(upload, body, appendOptions());
      expect(result).toEqual({ offset: 300_000, end: 'cut' });
      const { offset } = await (await harness.reopen()).getUpload(upload.id);
      expect(offset).toBe(300_000);
    });

    it('keeps every byte that arrived when it is told to release, and goes on from there', async () => {
      const content = randomBytes(500_000);
      const upload = await create({ size: content.length });
      const body = new PassThrough();
      body.write(content.subarray(0, 200_000));
      const release = new AbortController();
      setTimeout(() => release.abort(), 50);
      const result = await store.append(upload, body, appendOptions({ signal: release.signal }));
      expect(result).toEqual({ offset: 200_000, end: 'released' });
      const again = await store.openUpload(upload.id, { for: 'write', requestOffset: 200_000 }, freeLock());
      await append(store, again, [content.subarray(200_000)]);
      await store.complete(again, freeLock());
      expectSameBytes(await readOriginal(store, upload.id), content);
    });

    it('ends a body that sends nothing for too long, and keeps what came', async () => {
      const upload = await create({ size: 100 });
      const body = new PassThrough();
      body.write('hello');
      const result = await store.append(upload, body, appendOptions({ idleTimeoutMs: 50 }));
      expect(result).toEqual({ offset: 5, end: 'idle' });
    });

    it('takes no more than the limit', async () => {
      const upload = await create({ size: 10 });
      const result = await append(store, upload, [Buffer.alloc(6, 1), Buffer.alloc(6, 2)], { limit: 10 });
      expect(result).toEqual({ offset: 6, end: 'limit' });
      expect((await store.getUpload(upload.id)).offset).toBe(6);
    });

    describe('a body with a checksum', () => {
      const expectNothingStored = async (upload: StoredUpload, offset: number, ownNames: string[]) => {
        expect(upload.offset).toBe(offset);
        expect((await (await harness.reopen()).getUpload(upload.id)).offset).toBe(offset);
        expect(await namesOf(upload)).toEqual(ownNames);
      };
      const namesOf = async ({ id }: StoredUpload) =>
        (await harness.storedNames()).filter((stored) => stored.includes(id)).sort();

      it.each([1, ...interestingSizes])('is stored once %i bytes were verified', async (size) => {
        const content = randomBytes(size);
        const upload = await create({ size: size + 5 });
        await append(store, upload, [Buffer.from('12345')]);
        const seen = createHash('sha256');
        const result = await append(store, upload, slices(content, 65_536), {
          checksum: sha1Of(content),
          expectedBytes: size,
          onChunk: (chunk) => void seen.update(chunk),
        });
        expect(result).toEqual({ offset: size + 5, end: 'end' });
        expect(seen.digest('hex')).toBe(createHash('sha256').update(content).digest('hex'));
        await store.complete(upload, freeLock());
        expectSameBytes(await readOriginal(store, upload.id), Buffer.concat([Buffer.from('12345'), content]));
      });

      it.each([0, 1, ...interestingSizes])(
        'is verified by reading it again: %i bytes of unknown length',
        async (size) => {
          const content = randomBytes(size);
          const upload = await create({ size: 100_000_000 });
          const lateSha1 = (expected: Buffer): BodyChecksum => ({
            update: () => {},
            async matches(reread) {
              const hash = createHash('sha1');
              for await (const chunk of reread()) hash.update(chunk);
              return hash.digest('hex') === createHash('sha1').update(expected).digest('hex');
            },
          });
          const wrong = { checksum: lateSha1(Buffer.from('something else')) };
          expect(await append(store, upload, slices(content, 65_536), wrong)).toEqual({
            offset: 0,
            end: 'checksum_mismatch',
          });
          const right = { checksum: lateSha1(content) };
          expect(await append(store, upload, slices(content, 65_536), right)).toEqual({
            offset: size,
            end: 'end',
          });
          expect((await (await harness.reopen()).getUpload(upload.id)).offset).toBe(size);
        },
      );

      it.each([6, ...interestingSizes])(
        'leaves nothing of %i bytes that are other ones, and no onChunk sees them',
        async (size) => {
          const content = randomBytes(size);
          const upload = await create({ size: size + 5 });
          await append(store, upload, [Buffer.from('12345')]);
          const names = await namesOf(upload);
          const chunks: Buffer[] = [];
          const result = await append(store, upload, slices(content, 65_536), {
            checksum: sha1Of(Buffer.from('something else')),
            expectedBytes: size,
            onChunk: (chunk) => void chunks.push(chunk),
          });
          expect(result).toEqual({ offset: 5, end: 'checksum_mismatch' });
          expect(chunks).toEqual([]);
          await expectNothingStored(upload, 5, names);
          const again = await append(store, upload, [content], { checksum: sha1Of(content) });
          expect(again).toEqual({ offset: size + 5, end: 'end' });
          await store.complete(upload, freeLock());
          expectSameBytes(
            await readOriginal(store, upload.id),
            Buffer.concat([Buffer.from('12345'), content]),
          );
        },
      );

      it.each(['cut', 'released', 'idle', 'limit'] as const)(
        'leaves nothing when it is %s before its end',
        async (end) => {
          for (const size of [1000, 3_000_000]) {
            const content = randomBytes(size);
            const upload = await create({ size: end === 'limit' ? size - 1 : size });
            const names = await namesOf(upload);
            const body = new PassThrough({ highWaterMark: size });
            body.write(end === 'limit' ? content : content.subarray(0, size - 1));
            const release = new AbortController();
            if (end === 'cut') setTimeout(() => body.destroy(new Error('aborted')), 50);
            if (end === 'released') setTimeout(() => release.abort(), 50);
            const result = await store.append(
              upload,
              body,
              appendOptions({
                checksum: sha1Of(content),
                limit: upload.size as number,
                signal: release.signal,
                idleTimeoutMs: end === 'idle' ? 50 : 0,
              }),
            );
            expect(result).toEqual({ offset: 0, end });
            await expectNothingStored(upload, 0, names);
          }
        },
      );

      it('leaves nothing when the check itself fails, or the lock is lost', async () => {
        const upload = await create({ size: 1000 });
        const names = await namesOf(upload);
        const fails: BodyChecksum = {
          update: () => {},
          matches: () => Promise.reject(new RangeError('not a checksum')),
        };
        await expect(append(store, upload, [randomBytes(1000)], { checksum: fails })).rejects.toThrow(
          'not a checksum',
        );
        const lost = AbortSignal.abort();
        const checksum = sha1Of(Buffer.from('x'));
        await expect(
          append(store, upload, [Buffer.from('x')], { checksum, lock: freeLock(lost) }),
        ).rejects.toSatisfy((error) => isStoreError(error, 'lock_lost'));
        await expectNothingStored(upload, 0, names);
      });

      it('is refused when it is longer than what can be kept, announced or not', async () => {
        const upload = await create({ size: undefined });
        const tooLarge = harness.mostVerifiedBytes + 1;
        const checksum = sha1Of(Buffer.from('x'));
        await expect(
          append(store, upload, [Buffer.from('x')], { checksum, expectedBytes: tooLarge }),
        ).rejects.toSatisfy((error) => isStoreError(error, 'checksum_body_too_large'));
        const chunk = Buffer.alloc(1024 * 1024);
        const endless = Array.from({ length: Math.ceil(tooLarge / chunk.length) }, () => chunk);
        await expect(append(store, upload, endless, { checksum })).rejects.toSatisfy((error) =>
          isStoreError(error, 'checksum_body_too_large'),
        );
        expect((await store.getUpload(upload.id)).offset).toBe(0);
      });

      it('is right in the request that creates the upload, too', async () => {
        for (const content of [Buffer.from('12345'), randomBytes(2_000_000)]) {
          for (const isRight of [true, false]) {
            const upload = await create({ size: content.length }, { followingBytes: content.length });
            const checksum = sha1Of(isRight ? content : Buffer.from('else'));
            const { offset } = await append(store, upload, [content], { checksum });
            expect(offset).toBe(isRight ? content.length : 0);
            expect((await store.getUpload(upload.id)).offset).toBe(offset);
          }
        }
      });
    });

    describe('an upload whose address nobody learns before its body', () => {
      const createUntold = (size: number, fields: Partial<StoredUploadFields> = {}) =>
        create({ size, ...fields }, { followingBytes: size, isUntold: true });

      it.each([1, 1000, ...interestingSizes])(
        'has %i bytes exactly, and what was said of it',
        async (size) => {
          const content = randomBytes(size);
          const rawMetadata = 'filename d29ybGQ=,empty';
          const upload = await createUntold(size, { rawMetadata });
          const middle = Math.floor(size / 3);
          const chunks = [content.subarray(0, middle), content.subarray(middle)];
          expect(await append(store, upload, chunks, { limit: size, expectedBytes: size })).toEqual({
            offset: size,
            end: 'end',
          });
          expect(upload.isFull).toBe(true);
          await store.complete(upload, freeLock());
          const other = await harness.reopen();
          expect(await other.getUpload(upload.id)).toMatchObject({ size, offset: size, rawMetadata });
          expectSameBytes(await readOriginal(other, upload.id), content);
        },
      );

      it('is one of many at once', async () => {
        const contents = Array.from({ length: 100 }, () => randomBytes(5000));
        const uploads = await Promise.all(
          contents.map(async (content) => {
            const upload = await createUntold(content.length);
            await append(store, upload, [content], { limit: content.length });
            await store.complete(upload, freeLock());
            return upload;
          }),
        );
        const other = await harness.reopen();
        for (const [index, { id }] of uploads.entries()) {
          expectSameBytes(await readOriginal(other, id), contents[index] as Buffer);
        }
      });

      it.each(['cut', 'released'] as const)(
        'keeps what came of a body that is %s, and goes on',
        async (end) => {
          const content = randomBytes(3000);
          const upload = await createUntold(content.length);
          const body = new PassThrough();
          body.write(content.subarray(0, 1200));
          const release = new AbortController();
          setTimeout(() => (end === 'cut' ? body.destroy() : release.abort()), 50);
          const options = appendOptions({ signal: release.signal, limit: content.length });
          expect(await store.append(upload, body, options)).toEqual({ offset: 1200, end });
          const other = await harness.reopen();
          const again = await other.openUpload(upload.id, { for: 'write', requestOffset: 1200 }, freeLock());
          expect(again).toMatchObject({ offset: 1200, size: 3000, isComplete: false });
          await append(other, again, [content.subarray(1200)]);
          await other.complete(again, freeLock());
          expectSameBytes(await readOriginal(store, upload.id), content);
        },
      );

      it('has nothing of a body that is not what its checksum says', async () => {
        const upload = await createUntold(5);
        const { offset, end } = await append(store, upload, [Buffer.from('12345')], {
          checksum: sha1Of(Buffer.from('else')),
        });
        expect({ offset, end }).toEqual({ offset: 0, end: 'checksum_mismatch' });
        expect((await store.getUpload(upload.id)).offset).toBe(0);
      });
    });

    it('stops and acknowledges nothing when its lock is lost', async () => {
      const upload = await create({ size: 1_000_000 });
      const body = new PassThrough();
      body.write(randomBytes(1000));
      const lost = new AbortController();
      setTimeout(() => lost.abort(), 50);
      await expect(
        store.append(upload, body, appendOptions({ lock: freeLock(lost.signal) })),
      ).rejects.toSatisfy((error) => isStoreError(error, 'lock_lost'));
    });

    it('sets a deferred length once, for every process', async () => {
      const upload = await create({ size: undefined });
      expect(upload.sizeIsDeferred).toBe(true);
      await append(store, upload, [Buffer.from('12345')]);
      await expect(store.declareLength(upload, 4, freeLock())).rejects.toSatisfy((error) =>
        isStoreError(error, 'length_below_offset'),
      );
      await store.declareLength(upload, 8, freeLock());
      expect(upload.size).toBe(8);
      const other = await harness.reopen();
      const same = await other.openUpload(upload.id, { for: 'write', requestOffset: 5 }, freeLock());
      expect(same).toMatchObject({ size: 8, offset: 5 });
      await expect(other.declareLength(same, 9, freeLock())).rejects.toSatisfy((error) =>
        isStoreError(error, 'length_already_set'),
      );
      await append(other, same, [Buffer.from('678')]);
      await other.complete(same, freeLock());
      expect((await readOriginal(store, upload.id)).toString()).toBe('12345678');
    });

    it('finishes a deferred upload whose length is declared when all bytes are there', async () => {
      const upload = await create({ size: undefined });
      await append(store, upload, [Buffer.from('12345')]);
      const again = await store.openUpload(upload.id, { for: 'write', requestOffset: 5 }, freeLock());
      await store.declareLength(again, 5, freeLock());
      expect(again.isFull).toBe(true);
      await store.complete(again, freeLock());
      expect((await readOriginal(store, upload.id)).toString()).toBe('12345');
    });

    it('keeps a digest that is declared later', async () => {
      const upload = await create();
      const digest = { algorithm: 'sha-256' as const, hex: 'cd'.repeat(32) };
      await store.declareDigest(upload, digest, freeLock());
      expect((await (await harness.reopen()).getUpload(upload.id)).declaredDigest).toEqual(digest);
    });

    describe('concatenation', () => {
      const concatenation = () => {
        if (store.concatenation === undefined) throw new Error('the store does not concatenate');
        return store.concatenation;
      };

      async function createPartial(content: Buffer): Promise<StoredUpload> {
        const upload = await create({ size: content.length, concat: 'partial' });
        if (content.length > 0) await append(store, upload, [content]);
        await store.complete(upload, freeLock());
        return upload;
      }

      const planned = (partials: readonly StoredUpload[]) =>
        concatenation().plan(
          newUpload({
            size: partials.reduce((sum, { size = 0 }) => sum + size, 0),
            rawMetadata: 'filename d2hvbGU=',
            concat: 'final;as it came',
            partialIds: partials.map(({ id }) => id),
          }),
          partials,
        );

      const never = () => new AbortController().signal;
      const largest = Math.max(...interestingSizes);

      async function finish(final: StoredUpload, instance = store): Promise<void> {
        await instance.concatenation?.putTogether(final, { signal: never() });
        expect(final.isFull).toBe(true);
        await instance.complete(final, freeLock());
      }

      it.each([
        ['large ones', [largest, largest - 1, largest + 17]],
        ['small and empty ones', [1, 0, 200_000, 3, largest, 0, 5]],
        ['one', [largest + 1]],
        ['only empty ones', [0, 0]],
      ])('puts %s together, in order, and the partial uploads stay', async (_what, sizes) => {
        const contents = sizes.map((size) => randomBytes(size));
        const partials: StoredUpload[] = [];
        for (const content of contents) partials.push(await createPartial(content));
        const final = await planned(partials);
        const progress: number[] = [];
        await concatenation().putTogether(final, {
          signal: never(),
          onProgress: (bytes) => progress.push(bytes),
        });
        await store.complete(final, freeLock());
        const whole = Buffer.concat(contents);
        expectSameBytes(await readOriginal(store, final.id), whole);
        expectSameBytes(await readOriginal(await harness.reopen(), final.id), whole);
        expect(progress).toEqual(progress.toSorted((a, b) => a - b));
        expect(await (await harness.reopen()).getUpload(final.id)).toMatchObject({
          size: whole.length,
          offset: whole.length,
          isComplete: true,
          concat: 'final;as it came',
          rawMetadata: 'filename d2hvbGU=',
          partialIds: partials.map(({ id }) => id),
        });
        for (const { id, size } of partials) {
          expect(await store.getUpload(id)).toMatchObject({ size, offset: size, isComplete: true });
          await store.removeUpload(id, freeLock());
        }
        expectSameBytes(await readOriginal(store, final.id), whole);
      });

      it('uses a partial upload more than once, in one final upload and in two', async () => {
        const [a, b] = [randomBytes(largest), randomBytes(100)];
        const [first, second] = [await createPartial(a), await createPartial(b)];
        const one = await planned([first, second, first]);
        const two = await planned([first, first]);
        await finish(one);
        await finish(two);
        expectSameBytes(await readOriginal(store, one.id), Buffer.concat([a, b, a]));
        expectSameBytes(await readOriginal(store, two.id), Buffer.concat([a, a]));
      });

      it('is not full before it is put together, and goes on from any step, in another process', async () => {
        const contents = [randomBytes(largest + 5), randomBytes(largest), randomBytes(largest)];
        const partials: StoredUpload[] = [];
        for (const content of contents) partials.push(await createPartial(content));
        const { id } = await planned(partials);
        expect((await store.getUpload(id)).isFull).toBe(false);
        for (const steps of [0, 1, 2]) {
          const instance = await harness.reopen();
          const stop = new AbortController();
          const end = new Error('stopped');
          let left = steps;
          if (left === 0) stop.abort(end);
          const final = await instance.openUpload(id, { for: 'read' }, freeLock());
          const running = instance.concatenation?.putTogether(final, {
            signal: stop.signal,
            onProgress: () => {
              left -= 1;
              if (left === 0) stop.abort(end);
            },
          });
          // What was on its way when it was stopped may have been the rest.
          if (steps < 2) await expect(running).rejects.toBe(end);
          else await running?.catch((error: unknown) => expect(error).toBe(end));
          for (const { id: partialId, size } of partials) {
            expect(await instance.getUpload(partialId)).toMatchObject({ size, offset: size });
          }
        }
        const last = await harness.reopen();
        const final = await last.openUpload(id, { for: 'read' }, freeLock());
        await finish(final, last);
        expectSameBytes(await readOriginal(store, id), Buffer.concat(contents));
        // Whoever comes late changes nothing.
        await finish(await store.openUpload(id, { for: 'read' }, freeLock()));
        expectSameBytes(await readOriginal(store, id), Buffer.concat(contents));
      });

      it('says so when a partial upload is not there any more, and the others stay', async () => {
        const [first, second] = [
          await createPartial(randomBytes(300)),
          await createPartial(randomBytes(400)),
        ];
        const final = await planned([first, second]);
        await store.removeUpload(second.id, freeLock());
        const running = concatenation().putTogether(final, { signal: never() });
        await expect(running).rejects.toSatisfy((error) => isStoreError(error, 'upload_gone'));
        await store.removeUpload(final.id, freeLock());
        expect(await store.getUpload(first.id)).toMatchObject({ size: 300, offset: 300 });
      });
    });

    it('knows at the end the digest that another process kept in between', async () => {
      const upload = await create({ size: 10 });
      await append(store, upload, [Buffer.from('12345')]);
      const other = await harness.reopen();
      const same = await other.openUpload(upload.id, { for: 'read' }, freeLock());
      const digest = { algorithm: 'sha-256' as const, hex: 'ef'.repeat(32) };
      await other.declareDigest(same, digest, freeLock());
      const again = await store.openUpload(upload.id, { for: 'write', requestOffset: 5 }, freeLock());
      await append(store, again, [Buffer.from('67890')]);
      await store.complete(again, freeLock());
      expect(again.declaredDigest).toEqual(digest);
    });

    it('removes unfinished and finished uploads without a trace', async () => {
      const unfinished = await create({ size: 100 });
      await append(store, unfinished, [randomBytes(50)]);
      const finished = await create({ size: 50 });
      await append(store, finished, [randomBytes(50)]);
      await store.complete(finished, freeLock());
      for (const { id } of [unfinished, finished]) {
        await store.removeUpload(id, freeLock());
        await expect((await harness.reopen()).getUpload(id)).rejects.toSatisfy(
          (error) => isStoreError(error, 'upload_not_found') || isStoreError(error, 'upload_gone'),
        );
        await expect(store.openOriginal(id)).rejects.toSatisfy(isStoreError);
        const leftovers = (await harness.storedNames()).filter((stored) => stored.includes(id));
        expect(leftovers.filter((stored) => !stored.endsWith('.info'))).toEqual([]);
      }
    });

    it.each(['a'.repeat(32), '../../etc/passwd', '', 'x', `${'a'.repeat(32)}.json`, 'a/b', 'constructor'])(
      'does not know the id %j',
      async (id) => {
        await expect(store.getUpload(id)).rejects.toSatisfy((error) =>
          isStoreError(error, 'upload_not_found'),
        );
        await expect(store.removeUpload(id, freeLock())).rejects.toSatisfy((error) =>
          isStoreError(error, 'upload_not_found'),
        );
        await expect(store.openOriginal(id)).rejects.toSatisfy((error) =>
          isStoreError(error, 'upload_not_found'),
        );
      },
    );

    it('reads any range of a finished original', async () => {
      const content = randomBytes(100_000);
      const upload = await create({ size: content.length });
      await append(store, upload, [content]);
      await store.complete(upload, freeLock());
      const reader = await store.openOriginal(upload.id);
      try {
        expect(reader.size).toBe(content.length);
        expect(reader.etag).toMatch(/^[\x21\x23-\x7e]+$/);
        for (const [start, end] of [
          [0, 0],
          [99_999, 99_999],
          [10, 70_000],
          [0, 99_999],
        ] as const) {
          expectSameBytes(await readRange(reader, start, end), content.subarray(start, end + 1));
        }
      } finally {
        await reader.close();
      }
    });

    it('does not open an original that is not finished', async () => {
      const upload = await create({ size: 10 });
      await append(store, upload, [Buffer.from('12345')]);
      await expect(store.openOriginal(upload.id)).rejects.toSatisfy((error) =>
        isStoreError(error, 'upload_not_found'),
      );
    });

    it('lists what it holds', async () => {
      const made = [await create({ size: 3 }), await create({ size: 0 })];
      const listed = new Map<string, StoredUpload>();
      for await (const upload of store.listUploads()) listed.set(upload.id, upload);
      for (const { id, size } of made) expect(listed.get(id)).toMatchObject({ id, size, offset: 0 });
    });

    it('says that it can take writes', async () => {
      await expect(store.check()).resolves.toBeUndefined();
    });

    it('expires what is unfinished, and only that', async () => {
      const finished = await create({ size: 5 });
      await append(store, finished, [Buffer.from('12345')]);
      await store.complete(finished, freeLock());
      const unfinished = await create({ size: 5 });
      await append(store, unfinished, [Buffer.from('123')]);
      expect(unfinished.expiresAtMs).toBeGreaterThan(Date.now() + expirationMs - 60_000);
      // A partial upload that nobody makes a final one of is never more than a part of something unfinished.
      const partial = await create({ size: 5, concat: 'partial' });
      await append(store, partial, [Buffer.from('12345')]);
      await store.complete(partial, freeLock());
      expect(partial.expiresAtMs).toBeGreaterThan(Date.now() + expirationMs - 60_000);
      expect((await store.getUpload(partial.id)).expiresAtMs).toBeGreaterThan(Date.now());
      harness.passTime(expirationMs * 2);
      await expect(store.getUpload(unfinished.id)).rejects.toSatisfy((error) =>
        isStoreError(error, 'upload_gone'),
      );
      await expect(store.getUpload(partial.id)).rejects.toSatisfy((error) =>
        isStoreError(error, 'upload_gone'),
      );
      expect((await store.getUpload(finished.id)).expiresAtMs).toBeUndefined();
      expect((await readOriginal(store, finished.id)).toString()).toBe('12345');
      await store.removeUpload(unfinished.id, freeLock());
    });
  });
}

function append(
  store: UploadStore,
  upload: StoredUpload,
  chunks: Buffer[],
  options: Partial<AppendOptions> = {},
) {
  return store.append(upload, Readable.from(chunks), appendOptions(options));
}

function sha1Of(content: Buffer): BodyChecksum {
  const hash = createHash('sha1');
  return {
    update: (chunk) => void hash.update(chunk),
    matches: () => hash.digest('hex') === createHash('sha1').update(content).digest('hex'),
  };
}

function slices(content: Buffer, length: number): Buffer[] {
  const count = Math.ceil(content.length / length);
  return Array.from({ length: count }, (_, index) => content.subarray(index * length, (index + 1) * length));
}

/** Deep equality of large buffers takes seconds; this says where they differ. */
function expectSameBytes(actual: Buffer, expected: Buffer): void {
  expect(actual.length).toBe(expected.length);
  if (!actual.equals(expected)) expect(actual.findIndex((byte, index) => byte !== expected[index])).toBe(-1);
}
