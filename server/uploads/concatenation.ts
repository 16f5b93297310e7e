import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog, UploadRecord } from '../../stores/catalog/types.ts';
import { isFinalUpload, isPartialUpload } from '../../stores/concat-kind.ts';
import { isStoreError, isUploadMissing } from '../../stores/errors.ts';
import type { Locker, UploadLock } from '../../stores/locker/types.ts';
import { type Digest, StoredUpload } from '../../stores/stored-upload.ts';
import type { ConcatenatingStore, UploadStore } from '../../stores/types.ts';
import { HttpError } from '../errors.ts';
import type { EventPublisher } from '../events/publisher.ts';
import type { UploadPolicy } from '../policy/upload-policy.ts';
import type { ActiveRequests } from './active-requests.ts';
import { CONCAT_REASONS } from './concat-records.ts';
import { type Finisher, recordOf } from './finish.ts';
import { removeIfThere } from './remove-if-there.ts';

/** A final upload as its client asks for it. */
export interface NewFinalUpload {
  id: string;
  /** In order; one may occur more than once. */
  partialIds: readonly string[];
  /** Upload-Concat as received. */
  concat: string;
  rawMetadata: string | undefined;
  declaredDigest: Digest | undefined;
  /** Upload-Length, which a client must not send but may: it must then be right. */
  announcedSize: number | undefined;
}

export interface FinalResult {
  upload: StoredUpload;
  record: UploadRecord;
}

export interface Concatenator {
  /**
   * Makes a final upload, goes on with one that was interrupted, or finds that it is there. When it resolves the final
   * upload is as durable as any finished one, and the partial ones are gone.
   *
   * @param lock of the final upload, held
   * @throws StoreError; HttpError invalid_concat, partial_not_found, partial_unfinished, inconsistent_length,
   *   size_limit, type_not_allowed, metadata_required, upload_gone, shutting_down
   */
  makeFinal(wanted: NewFinalUpload, lock: UploadLock): Promise<FinalResult>;
  /** Goes on with a planned one that no client came back for. Throws as above. */
  resume(id: string, lock: UploadLock): Promise<FinalResult>;
}

export interface ConcatenatorOptions {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  finisher: Finisher;
  policy: UploadPolicy;
  active: ActiveRequests;
  events: EventPublisher;
  log: FastifyBaseLogger;
}

/**
 * tus Concatenation. Locks: the final upload's first, then those of its partial ones in the order of their ids, so
 * that two final uploads over the same partial ones never wait for each other; nobody takes them the other way round.
 *
 * What is durable when: the plan, then the bytes, then the finish, then the records of the partial uploads (which say
 * where their bytes are), and only then are the partial ones removed. After a crash anywhere, the same request again
 * or the sweep goes on from there; a final upload is answered for only after its finish.
 */
export function createConcatenator(options: ConcatenatorOptions): Concatenator {
  const { store, locker, catalog, finisher, policy, active, events, log } = options;

  async function makeFinal(wanted: NewFinalUpload, lock: UploadLock): Promise<FinalResult> {
    const known = await findFinal(wanted.id, lock);
    if (known !== undefined) {
      // An id that follows from the partial uploads cannot be another one's; one that a hook chose can.
      if (known.partialIds?.join() !== wanted.partialIds.join()) throw new HttpError('invalid_concat');
      return goOn(known, wanted.partialIds, lock);
    }
    // Looked at without their locks first: taking those would interrupt partial uploads that are being received.
    await Promise.all(unique(wanted.partialIds).map((id) => openPartial(id)));
    return underLocks(wanted.partialIds, async (locks) => {
      const final = await plan(wanted, locks);
      return build(final, wanted.partialIds, lock, locks);
    });
  }

  async function resume(id: string, lock: UploadLock): Promise<FinalResult> {
    const final = await store.openUpload(id, { for: 'read' }, lock);
    return goOn(final, final.partialIds ?? [], lock);
  }

  /** The final upload, if an earlier request got as far as planning it. */
  async function findFinal(id: string, lock: UploadLock): Promise<StoredUpload | undefined> {
    try {
      const upload = await store.openUpload(id, { for: 'read' }, lock);
      if (!isFinalUpload(upload.concat)) throw new HttpError('invalid_concat');
      return upload;
    } catch (error) {
      if (!isStoreError(error, 'upload_not_found')) throw error;
    }
    const record = await catalog.get(id);
    if (record !== undefined && record.state !== 'receiving') throw new HttpError('upload_gone');
    return undefined;
  }

  /** A final upload that is there or planned already: its own plan counts, not what the request says. */
  function goOn(final: StoredUpload, partialIds: readonly string[], lock: UploadLock): Promise<FinalResult> {
    return underLocks(final.partialIds ?? partialIds, async (locks) => {
      await finisher.ensureRecord(final);
      return build(final, final.partialIds ?? partialIds, lock, locks);
    });
  }

  async function build(
    final: StoredUpload,
    partialIds: readonly string[],
    lock: UploadLock,
    locks: ReadonlyMap<string, UploadLock>,
  ): Promise<FinalResult> {
    if (!final.isFull) await putTogether(final, lock, locks);
    const record = await finisher.finishUpload(final, lock);
    for (const [id, partialLock] of locks) {
      if (!partialIds.includes(id)) continue;
      // The final upload is there, and that is the answer: what is left of a partial one expires.
      await removePartial(id, final.id, partialLock).catch((error: unknown) =>
        log.warn({ uploadId: id, error }, 'removing a partial upload failed'),
      );
    }
    return { upload: final, record };
  }

  async function plan(wanted: NewFinalUpload, locks: ReadonlyMap<string, UploadLock>): Promise<StoredUpload> {
    const { id, partialIds, concat, rawMetadata, declaredDigest, announcedSize } = wanted;
    const opened = new Map<string, StoredUpload>();
    for (const [partialId, lock] of locks) opened.set(partialId, await openPartial(partialId, lock));
    const partials = partialIds.flatMap((partialId) => opened.get(partialId) ?? []);
    // tus 1.0.0: "The length of the final upload MUST be the sum of the length of all partial uploads."
    const size = partials.reduce((sum, partial) => sum + (partial.size ?? 0), 0);
    if (announcedSize !== undefined && announcedSize !== size) throw new HttpError('inconsistent_length');
    policy.checkCreation({ size, rawMetadata, concat });
    const createdAtMs = Date.now();
    const final = await concatenating().plan(
      new StoredUpload({
        id,
        size,
        offset: 0,
        rawMetadata,
        concat,
        partialIds,
        declaredDigest,
        createdAtMs,
        isComplete: false,
      }),
      partials,
    );
    events.created(await catalog.create(recordOf(final)));
    return final;
  }

  /** @param lock without it, only whether it could be used now */
  async function openPartial(id: string, lock?: UploadLock): Promise<StoredUpload> {
    let upload: StoredUpload;
    try {
      upload = await store.openUpload(id, { for: 'read' }, lock);
    } catch (error) {
      if (!isUploadMissing(error)) throw error;
      throw new HttpError('partial_not_found', { cause: error });
    }
    if (!isPartialUpload(upload.concat)) {
      throw new HttpError('invalid_concat', { message: 'Only partial uploads can be concatenated.' });
    }
    if (!upload.isFull) throw new HttpError('partial_unfinished');
    if (lock !== undefined) await finisher.finishUpload(upload, lock);
    return upload;
  }

  async function putTogether(
    final: StoredUpload,
    lock: UploadLock,
    locks: ReadonlyMap<string, UploadLock>,
  ): Promise<void> {
    const drain = new AbortController();
    let placedBytes = 0;
    const running = {
      id: final.id,
      takenOffset: () => placedBytes,
      uploadSize: final.size,
      release: () => drain.abort(new HttpError('shutting_down')),
    };
    active.add(running);
    try {
      const lost = [lock, ...locks.values()].map((held) => held.lost);
      await concatenating().putTogether(final, {
        signal: AbortSignal.any([drain.signal, ...lost]),
        onProgress: (bytes) => {
          placedBytes = bytes;
        },
      });
    } catch (error) {
      const isHopeless = isStoreError(error, 'upload_gone') || isStoreError(error, 'storage_full');
      if (!isHopeless) throw error;
      // Nobody was told of it, and it would be in the way of what it cannot have.
      await store.removeUpload(final.id, lock);
      await catalog.remove(final.id);
      events.discarded(final.id);
      if (isStoreError(error, 'upload_gone')) throw new HttpError('partial_not_found', { cause: error });
      throw error;
    } finally {
      active.remove(running);
    }
  }

  /** The record first: it says where the bytes went, to a client that asks again because it missed the answer. */
  async function removePartial(id: string, finalId: string, lock: UploadLock): Promise<void> {
    await catalog.transition(id, ['receiving', 'received', 'processing', 'ready', 'failed'], 'aborted', {
      reasonCode: CONCAT_REASONS.concatenated,
      reason: finalId,
      updatedAtMs: Date.now(),
    });
    await catalog.flush();
    await removeIfThere(store, id, lock);
  }

  async function underLocks<T>(
    ids: readonly string[],
    task: (locks: ReadonlyMap<string, UploadLock>) => Promise<T>,
  ): Promise<T> {
    const locks = new Map<string, UploadLock>();
    try {
      for (const id of unique(ids).sort()) {
        const lock = locker.newLock(id);
        // Whoever wants a partial upload now has to wait: what is being copied is not given up half-way.
        await lock.lock(new AbortController().signal, () => {});
        locks.set(id, lock);
      }
      return await task(locks);
    } finally {
      await Promise.all([...locks.values()].map((lock) => lock.unlock()));
    }
  }

  function concatenating(): ConcatenatingStore {
    if (store.concatenation === undefined) throw new HttpError('unsupported_extension');
    return store.concatenation;
  }

  return { makeFinal, resume };
}

function unique(ids: readonly string[]): string[] {
  return [...new Set(ids)];
}
