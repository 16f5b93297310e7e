import type { FastifyBaseLogger } from 'fastify';
import { isStoreError } from '../../stores/errors.ts';
import type { PreviewStore } from '../../stores/previews/types.ts';
import type { Locker, UploadCatalog, UploadRecord, UploadStore } from '../../stores/types.ts';
import { recordsIn } from '../uploads/records-in.ts';
import { withUploadLock } from '../uploads/with-lock.ts';
import type { Orphans } from './orphans.ts';
import type { Pipeline } from './pipeline.ts';
import type { Scratch } from './scratch.ts';

/** A record that was not touched for so long, though it is worked on or about to be, may have lost its job. */
export const LOST_AFTER_MS = 2 * 60 * 1000;
/** Longer than any job waits between two attempts, or for those before it on a busy day. */
const GIVEN_UP_AFTER_MS = 6 * 3600 * 1000;
const ORPHANS_INTERVAL_MS = 24 * 3600 * 1000;

export interface PipelineSweepOptions {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  previews: PreviewStore;
  pipeline: Pick<Pipeline, 'resubmit' | 'submitAnew'>;
  orphans: Orphans;
  scratch: Scratch;
  log: FastifyBaseLogger;
  now?: () => number;
}

export interface PipelineSweep {
  /** Sees to it that every upload that waits for work has a job. @param untouchedMs for how long its record was not changed */
  takeUpLost(untouchedMs: number, signal: AbortSignal): Promise<void>;
  /** Removes what is left of rejected uploads, of crashed work, and of previews whose upload is gone. */
  tidy(signal: AbortSignal): Promise<void>;
}

/** What is swept after the last byte. Every step is safe to run twice and in several processes. */
export function createPipelineSweep(options: PipelineSweepOptions): PipelineSweep {
  const { store, locker, catalog, previews, pipeline, orphans, scratch, log, now = Date.now } = options;

  /** The evidence goes, and the record stays: its URL still says why. */
  async function removeEvidence({ id }: UploadRecord, signal: AbortSignal): Promise<void> {
    await withUploadLock(locker, id, signal, async (lock) => {
      await store.removeUpload(id, lock).catch((error: unknown) => {
        if (!isStoreError(error, 'upload_not_found') && !isStoreError(error, 'upload_gone')) throw error;
      });
      await previews.removeAll(id);
      await catalog.update(id, { expiresAtMs: null });
      log.info({ uploadId: id }, 'the bytes of a rejected upload were removed');
    });
  }

  return {
    async takeUpLost(untouchedMs, signal) {
      for (const state of ['received', 'processing'] as const) {
        for await (const record of recordsIn(catalog, state, signal)) {
          const idleMs = now() - record.updatedAtMs;
          if (idleMs > GIVEN_UP_AFTER_MS) await pipeline.submitAnew(record);
          else if (idleMs >= untouchedMs) await pipeline.resubmit(record);
        }
      }
    },

    async tidy(signal) {
      for await (const record of recordsIn(catalog, 'rejected', signal)) {
        if (record.expiresAtMs === null || record.expiresAtMs > now()) continue;
        await removeEvidence(record, signal).catch((error: unknown) =>
          log.warn({ uploadId: record.id, error }, 'removing a rejected upload failed'),
        );
      }
      const directories = await scratch.sweep();
      if (directories > 0) log.info({ directories }, 'removed what crashed work left behind');
      if (!(await catalog.claim('orphaned-previews', ORPHANS_INTERVAL_MS))) return;
      const uploads = await orphans.sweep(signal);
      if (uploads > 0) log.info({ uploads }, 'removed previews of uploads that are gone');
    },
  };
}
