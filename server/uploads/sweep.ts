import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog, UploadPatch, UploadRecord } from '../../stores/catalog/types.ts';
import { isStoreError } from '../../stores/errors.ts';
import type { Locker, UploadLock } from '../../stores/locker/types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { UploadStore } from '../../stores/types.ts';
import type { Announcer } from '../pipeline/announcer.ts';
import type { PipelineSweep } from '../pipeline/sweep.ts';
import { CONCAT_REASONS, isPartialRecord } from './concat-records.ts';
import type { Concatenator } from './concatenation.ts';
import { DIRECT_REASON } from './direct-records.ts';
import type { Finisher } from './finish.ts';
import { recordsIn } from './records-in.ts';
import { withUploadLock } from './with-lock.ts';

const PAGE = 500;
/** A process that dies while it reconciles holds others up for this long. */
const RECONCILE_CLAIM_MS = 10 * 60 * 1000;
/** The catalog is compared with the store at least this often, whatever seems to be right. */
const RECONCILE_INTERVAL_MS = 24 * 3600 * 1000;
/** Longer than a creation takes, from its first trace to its last, on a busy machine. */
const CREATION_MS = 1000;
/** How long the catalog remembers what is gone, so that its address answers 410 and not 404. */
const TOMBSTONE_MS = 30 * 24 * 3600 * 1000;

export interface SweeperOptions {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  finisher: Finisher;
  concatenator: Concatenator;
  announcer: Announcer;
  pipelineSweep: PipelineSweep;
  /** Other processes may be at work on what this one finds waiting when it starts. */
  isShared: boolean;
  log: FastifyBaseLogger;
  intervalMs: number;
  now?: () => number;
}

export interface Sweeper {
  /** Sweeps now and at every interval; reconciles first where that is due. Returns at once. */
  start(): void;
  /** Brings the catalog in line with the store: rows that were lost, finishes that were interrupted. */
  reconcile(): Promise<void>;
  /** Reconciles in the background, after what runs there now. */
  reconcileSoon(): void;
  /** Removes expired uploads, finishes full ones, forgets old tombstones. */
  sweep(): Promise<{ expired: number; finished: number }>;
  close(): Promise<void>;
}

/**
 * What happens to uploads that no request comes for any more. Every step is under the upload's lock, looks at the
 * store again, and is safe to run twice and from several processes.
 */
export function createSweeper(options: SweeperOptions): Sweeper {
  const { store, locker, catalog, finisher, concatenator, announcer, pipelineSweep, log, intervalMs } =
    options;
  const now = options.now ?? Date.now;
  const stop = new AbortController();
  let running: Promise<unknown> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  /** An upload that somebody is busy with is left for the next time. */
  async function withLock(id: string, task: (lock: UploadLock) => Promise<void>): Promise<void> {
    await withUploadLock(locker, id, stop.signal, task);
  }

  /** What was read without the lock is old by now: an upload that has come to its end meanwhile stays as it is. */
  async function updateUnfinished(id: string, patch: UploadPatch): Promise<void> {
    await catalog.transition(id, 'receiving', 'receiving', patch);
  }

  /** Asked without the lock first: taking it would interrupt an upload that is being received. */
  async function isThere(id: string): Promise<boolean> {
    try {
      const upload = await store.getUpload(id);
      await updateUnfinished(id, { expiresAtMs: upload.expiresAtMs ?? null });
      return true;
    } catch (error) {
      if (isStoreError(error, 'upload_gone') || isStoreError(error, 'upload_not_found')) return false;
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
        if (isStoreError(error, 'upload_gone')) {
          await store.removeUpload(id, lock).catch(ignoreNotFound);
        } else if (!isStoreError(error, 'upload_not_found')) throw error;
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

  /** What arrives of a direct upload, no request of ours tells. */
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
    if (upload.offset !== offset) {
      // Unless it was completed meanwhile.
      const patch = { offset: upload.offset, updatedAtMs: now() };
      await catalog.transition(id, 'receiving', 'receiving', patch);
    }
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

  const isPastExpiry = ({ expiresAtMs }: UploadRecord) => expiresAtMs !== null && expiresAtMs < now();

  async function sweep(): Promise<{ expired: number; finished: number }> {
    const counts = { expired: 0, finished: 0 };
    const swept = await store.sweep?.(stop.signal);
    if (swept !== undefined && swept.failed > 0) log.warn(swept, 'sweeping the store was not complete');
    for await (const record of recordsIn(catalog, 'receiving', stop.signal)) {
      try {
        const isExpired = isPastExpiry(record);
        if (record.reasonCode === CONCAT_REASONS.planned && !isExpired) {
          if (await putTogether(record.id)) counts.finished += 1;
        } else if (isFull(record) && record.reasonCode !== CONCAT_REASONS.partial) {
          if (await finish(record.id)) counts.finished += 1;
        } else if (record.reasonCode === DIRECT_REASON && !isExpired) {
          if (await lookAtDirect(record)) counts.finished += 1;
        } else if (isExpired) {
          if (await expire(record.id)) counts.expired += 1;
        }
      } catch (error) {
        // At the very moment of expiry the store does not say yet: the clocks of several processes differ a little.
        if (isPastExpiry(record) && isRetryable(error)) continue;
        log.warn({ uploadId: record.id, error }, 'sweeping an upload failed');
      }
    }
    await pipelineSweep.takeUpLost(stop.signal);
    await pipelineSweep.tidy(stop.signal);
    for (const state of ['expired', 'aborted', 'rejected'] as const) {
      for await (const record of recordsIn(catalog, state, stop.signal)) {
        // A rejected upload has its bytes until then.
        if (state === 'rejected' && record.expiresAtMs !== null) continue;
        if (record.updatedAtMs < now() - TOMBSTONE_MS) await catalog.remove(record.id);
      }
    }
    return counts;
  }

  async function reconcile(): Promise<void> {
    const seen = { uploads: 0, damaged: 0 };
    /** Not whole in the store, or not there: left by a crash, or in the middle of being created. */
    const incomplete: string[] = [];
    const missing: string[] = [];
    const onDamaged = (id: string, error: unknown) => {
      if (isStoreError(error, 'upload_gone')) {
        incomplete.push(id);
        return;
      }
      if (isRetryable(error)) {
        log.warn({ uploadId: id, error }, 'reading an upload failed');
        return;
      }
      seen.damaged += 1;
      log.error({ uploadId: id, error }, 'upload is damaged');
    };
    for await (const upload of store.listUploads(onDamaged)) {
      if (stop.signal.aborted) return;
      seen.uploads += 1;
      if (seen.uploads % PAGE === 0) await catalog.extendClaim('reconcile', RECONCILE_CLAIM_MS);
      await attempt(upload.id, 'reconciling an upload', () => reconcileUpload(upload));
    }
    for await (const { id } of recordsIn(catalog, 'receiving', stop.signal)) {
      await attempt(id, 'looking for an upload', async () => {
        if (!(await isThere(id))) missing.push(id);
      });
    }
    // To ask for the lock of an upload that is being created would end the request that creates it.
    if (incomplete.length + missing.length > 0) await pause(CREATION_MS);
    for (const id of incomplete) await attempt(id, 'removing the rest', () => expire(id));
    for (const id of missing) await attempt(id, 'reconciling a record', () => forgetIfMissing(id));
    log.info(seen, 'catalog reconciled with the store');
  }

  async function reconcileUpload(upload: StoredUpload): Promise<void> {
    let record = await finisher.ensureRecord(upload);
    if (record.state === 'aborted' || record.state === 'expired') {
      if (record.reasonCode === 'deleted' || record.reasonCode === CONCAT_REASONS.concatenated) {
        if (record.reasonCode === 'deleted') await announcer.announceEnd(record);
        await withLock(upload.id, (lock) => store.removeUpload(upload.id, lock).catch(ignoreNotFound));
        return;
      }
      // The record was wrong (the directory was not mounted when it was written off): the store is the truth.
      await catalog.remove(upload.id);
      record = await finisher.ensureRecord(upload);
    }
    if (record.state !== 'receiving') return;
    // A full partial upload expires too, and its record may not know when.
    if (upload.expiresAtMs !== undefined && upload.expiresAtMs < now()) await expire(upload.id);
    else if (upload.isFull) await finish(upload.id);
    else if (record.offset !== upload.offset || record.expiresAtMs !== (upload.expiresAtMs ?? null)) {
      const { offset, expiresAtMs = null } = upload;
      await updateUnfinished(upload.id, { offset, expiresAtMs });
    }
  }

  /** A row of an upload that the store does not have: it was removed, and the end of that was lost. */
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

  /** What fails for one upload is no reason to leave the others. */
  async function attempt(uploadId: string, what: string, task: () => Promise<unknown>): Promise<void> {
    try {
      await task();
    } catch (error) {
      log.warn({ uploadId, error }, `${what} failed`);
    }
  }

  /** Ends at once when the sweeper is closed. */
  async function pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: stop.signal, ref: false }).catch(() => {});
  }

  function inBackground(task: () => Promise<unknown>, name: string): void {
    if (stop.signal.aborted) return;
    running = running.then(task).catch((error: unknown) => log.error({ error }, `${name} failed`));
  }

  /** Of all processes one at a time, and one a day; at once when the catalog was lost, and the claim with it. */
  async function reconcileIfDue(): Promise<void> {
    if (!(await catalog.claim('reconcile', RECONCILE_CLAIM_MS))) return;
    let isDone = false;
    try {
      await reconcile();
      isDone = !stop.signal.aborted;
    } finally {
      await catalog.extendClaim('reconcile', isDone ? RECONCILE_INTERVAL_MS : 0);
    }
  }

  async function sweepIfDue(): Promise<void> {
    // A little less than the interval: timers of several processes drift against each other.
    if (await catalog.claim('sweep', intervalMs * 0.9)) await sweep();
  }

  function turn(): void {
    inBackground(reconcileIfDue, 'reconciliation');
    inBackground(sweepIfDue, 'sweep');
  }

  return {
    start() {
      // Not by a claim: what this process was killed over waits for it, and submitting twice does no harm.
      const takeUpLost = () => pipelineSweep.takeUpLost(stop.signal, !options.isShared);
      inBackground(takeUpLost, 'taking up lost work');
      turn();
      timer = setInterval(turn, intervalMs);
      timer.unref();
    },
    reconcile,
    reconcileSoon() {
      inBackground(async () => {
        await catalog.extendClaim('reconcile', 0);
        await reconcileIfDue();
      }, 'reconciliation');
    },
    sweep,
    async close() {
      stop.abort();
      clearInterval(timer);
      await running;
    },
  };
}

function isFull({ size, offset }: UploadRecord): boolean {
  return size !== null && offset === size;
}

function isRetryable(error: unknown): boolean {
  return isStoreError(error) && error.retryable;
}

function ignoreNotFound(error: unknown): void {
  if (!isStoreError(error, 'upload_not_found') && !isStoreError(error, 'upload_gone')) throw error;
}
