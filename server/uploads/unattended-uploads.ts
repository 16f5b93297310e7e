import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog, UploadPatch, UploadRecord } from '../../stores/catalog/types.ts';
import { isStoreError, isUploadMissing } from '../../stores/errors.ts';
import type { Locker, UploadLock } from '../../stores/locker/types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { UploadStore } from '../../stores/types.ts';
import type { Announcer } from '../pipeline/announcer.ts';
import { isPartialRecord } from './concat-records.ts';
import type { Concatenator } from './concatenation.ts';
import type { Finisher } from './finish.ts';
import { removeIfThere } from './remove-if-there.ts';
import { withUploadLock } from './with-lock.ts';

export interface UnattendedUploadsOptions {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  finisher: Finisher;
  concatenator: Concatenator;
  announcer: Announcer;
  log: FastifyBaseLogger;
  now: () => number;
  /** Ends every wait for a lock: the upload is left for the next time. */
  signal: AbortSignal;
}

/**
 * What is done with one upload that no request comes for any more. Every step is under the upload's lock, looks at
 * the store again, and is safe to run twice and from several processes; an upload that somebody is busy with is left
 * for the next time.
 */
export interface UnattendedUploads {
  /** Asked without the lock: taking it would interrupt an upload that is being received. */
  isThere(id: string): Promise<boolean>;
  /** What was read without the lock is old by now: an upload that has come to its end meanwhile stays as it is. */
  updateUnfinished(id: string, patch: UploadPatch): Promise<void>;
  /** True when it has expired now. */
  expire(id: string): Promise<boolean>;
  /** Finishes it if it is full. True when its record says so now. */
  finish(id: string): Promise<boolean>;
  /** What arrives of a direct upload, no request of ours tells. True when it is finished now. */
  lookAtDirect(record: UploadRecord): Promise<boolean>;
  /** Goes on with a planned concatenation. True when the final upload is finished now. */
  putTogether(id: string): Promise<boolean>;
  /** Removes what its end left in the store. */
  remove(id: string): Promise<void>;
  /** A row of an upload that the store does not have: it was removed, and the end of that was lost. */
  forgetIfMissing(id: string): Promise<void>;
}

export function createUnattendedUploads(options: UnattendedUploadsOptions): UnattendedUploads {
  const { store, locker, catalog, finisher, concatenator, announcer, log, now, signal } = options;

  async function withLock(id: string, task: (lock: UploadLock) => Promise<void>): Promise<void> {
    await withUploadLock(locker, id, signal, task);
  }

  async function updateUnfinished(id: string, patch: UploadPatch): Promise<void> {
    await catalog.transition(id, 'receiving', 'receiving', patch);
  }

  async function isThere(id: string): Promise<boolean> {
    try {
      const upload = await store.getUpload(id);
      await updateUnfinished(id, { expiresAtMs: upload.expiresAtMs ?? null });
      return true;
    } catch (error) {
      if (isUploadMissing(error)) return false;
      throw error;
    }
  }

  async function expire(id: string): Promise<boolean> {
    if (await isThere(id)) return false;
    let isExpired = false;
    await withLock(id, async (lock) => {
      try {
        await store.openUpload(id, { for: 'read' }, lock);
        return;
      } catch (error) {
        if (isStoreError(error, 'upload_gone')) await removeIfThere(store, id, lock);
        else if (!isStoreError(error, 'upload_not_found')) throw error;
      }
      const patch = { updatedAtMs: now(), reasonCode: 'expired', reason: 'No bytes arrived for too long.' };
      const record = await catalog.get(id);
      // Told first: after a crash in between it is found, expired and told again.
      if (record?.state === 'receiving' && !isPartialRecord(record)) {
        await announcer.announceEnd({ ...record, ...patch, state: 'expired' });
      }
      const expired = await catalog.transition(id, 'receiving', 'expired', patch);
      isExpired = expired !== undefined;
      if (isExpired) log.info({ uploadId: id }, 'upload expired');
    });
    return isExpired;
  }

  async function finish(id: string): Promise<boolean> {
    let isFinished = false;
    await withLock(id, async (lock) => {
      const upload = await store.openUpload(id, { for: 'read' }, lock);
      if (!upload.isFull) return;
      const record = await finisher.finishUpload(upload, lock);
      isFinished = record.state !== 'receiving';
    });
    return isFinished;
  }

  async function lookAtDirect({ id, offset }: UploadRecord): Promise<boolean> {
    let upload: StoredUpload;
    try {
      upload = await store.getUpload(id);
    } catch (error) {
      if (!isStoreError(error, 'upload_gone')) throw error;
      await expire(id);
      return false;
    }
    if (upload.isFull) return finish(id);
    if (upload.offset !== offset) await updateUnfinished(id, { offset: upload.offset, updatedAtMs: now() });
    return false;
  }

  async function putTogether(id: string): Promise<boolean> {
    let isFinished = false;
    await withLock(id, async (lock) => {
      const { record } = await concatenator.resume(id, lock);
      isFinished = record.state !== 'receiving';
    });
    return isFinished;
  }

  async function remove(id: string): Promise<void> {
    await withLock(id, (lock) => removeIfThere(store, id, lock));
  }

  async function forgetIfMissing(id: string): Promise<void> {
    if (await isThere(id)) return;
    await withLock(id, async (lock) => {
      try {
        await store.openUpload(id, { for: 'read' }, lock);
      } catch (error) {
        if (!isStoreError(error, 'upload_not_found')) return;
        await catalog.transition(id, 'receiving', 'aborted', {
          updatedAtMs: now(),
          reasonCode: 'missing',
          reason: 'The store does not have this upload.',
        });
      }
    });
  }

  return { isThere, updateUnfinished, expire, finish, lookAtDirect, putTogether, remove, forgetIfMissing };
}
