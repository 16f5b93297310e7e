import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog } from '../../stores/catalog/types.ts';
import { isStoreError } from '../../stores/errors.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { UploadStore } from '../../stores/types.ts';
import type { Announcer } from '../pipeline/announcer.ts';
import { CONCAT_REASONS } from './concat-records.ts';
import type { Finisher } from './finish.ts';
import { recordsIn } from './records-in.ts';
import type { UnattendedUploads } from './unattended-uploads.ts';

/** How many uploads are looked at between two signs of life. */
const PAGE = 500;
/** Longer than a creation takes, from its first trace to its last, on a busy machine. */
const CREATION_MS = 1000;

export interface ReconciliationOptions {
  store: UploadStore;
  catalog: UploadCatalog;
  finisher: Finisher;
  announcer: Announcer;
  unattended: UnattendedUploads;
  log: FastifyBaseLogger;
  now: () => number;
  /** Ends it; what is not reconciled by then waits for the next time. */
  signal: AbortSignal;
}

/**
 * Brings the catalog in line with the store: rows that were lost, finishes that were interrupted.
 *
 * @returns a function that does so once; `onAlive` is called again and again while it is at work
 */
export function createReconciliation(
  options: ReconciliationOptions,
): (onAlive: () => Promise<void>) => Promise<void> {
  const { store, catalog, finisher, announcer, unattended, log, now, signal } = options;

  async function reconcile(onAlive: () => Promise<void>): Promise<void> {
    const seen = { uploads: 0, damaged: 0 };
    /** Not whole in the store, or not there: left by a crash, or in the middle of being created. */
    const incomplete: string[] = [];
    const missing: string[] = [];
    const onDamaged = (id: string, error: unknown) => {
      if (isStoreError(error, 'upload_gone')) {
        incomplete.push(id);
        return;
      }
      if (isStoreError(error) && error.retryable) {
        log.warn({ uploadId: id, error }, 'reading an upload failed');
        return;
      }
      seen.damaged += 1;
      log.error({ uploadId: id, error }, 'upload is damaged');
    };
    for await (const upload of store.listUploads(onDamaged)) {
      if (signal.aborted) return;
      seen.uploads += 1;
      if (seen.uploads % PAGE === 0) await onAlive();
      await attempt(upload.id, 'reconciling an upload', () => reconcileUpload(upload));
    }
    for await (const { id } of recordsIn(catalog, 'receiving', signal)) {
      await attempt(id, 'looking for an upload', async () => {
        if (!(await unattended.isThere(id))) missing.push(id);
      });
    }
    // To ask for the lock of an upload that is being created would end the request that creates it.
    if (incomplete.length + missing.length > 0) await pause(CREATION_MS);
    for (const id of incomplete) await attempt(id, 'removing the rest', () => unattended.expire(id));
    for (const id of missing) await attempt(id, 'reconciling a record', () => unattended.forgetIfMissing(id));
    log.info(seen, 'catalog reconciled with the store');
  }

  async function reconcileUpload(upload: StoredUpload): Promise<void> {
    let record = await finisher.ensureRecord(upload);
    if (record.state === 'aborted' || record.state === 'expired') {
      if (record.reasonCode === 'deleted' || record.reasonCode === CONCAT_REASONS.concatenated) {
        if (record.reasonCode === 'deleted') await announcer.announceEnd(record);
        await unattended.remove(upload.id);
        return;
      }
      // The record was wrong (the directory was not mounted when it was written off): the store is the truth.
      await catalog.remove(upload.id);
      record = await finisher.ensureRecord(upload);
    }
    if (record.state !== 'receiving') return;
    // A full partial upload expires too, and its record may not know when.
    if (upload.expiresAtMs !== undefined && upload.expiresAtMs < now()) await unattended.expire(upload.id);
    else if (upload.isFull) await unattended.finish(upload.id);
    else if (record.offset !== upload.offset || record.expiresAtMs !== (upload.expiresAtMs ?? null)) {
      const { offset, expiresAtMs = null } = upload;
      await unattended.updateUnfinished(upload.id, { offset, expiresAtMs });
    }
  }

  /** What fails for one upload is no reason to leave the others. */
  async function attempt(uploadId: string, what: string, task: () => Promise<unknown>): Promise<void> {
    try {
      await task();
    } catch (error) {
      log.warn({ uploadId, error }, `${what} failed`);
    }
  }

  /** Ends at once with `signal`. */
  async function pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal, ref: false }).catch(() => {});
  }

  return reconcile;
}
