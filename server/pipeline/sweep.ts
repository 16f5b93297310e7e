import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog, UploadRecord } from '../../stores/catalog/types.ts';
import type { Locker } from '../../stores/locker/types.ts';
import type { PreviewStore } from '../../stores/previews/types.ts';
import type { UploadStore } from '../../stores/types.ts';
import { recordsIn } from '../uploads/records-in.ts';
import { removeIfThere } from '../uploads/remove-if-there.ts';
import { withUploadLock } from '../uploads/with-lock.ts';
import type { Orphans } from './orphans.ts';
import type { Pipeline } from './pipeline.ts';
import type { Scratch } from './scratch.ts';

/** Longer than any job waits between two attempts, or for those before it on a busy day. */
const GIVEN_UP_AFTER_MS = 6 * 3600 * 1000;
const ORPHANS_INTERVAL_MS = 24 * 3600 * 1000;

export interface PipelineSweepOptions {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  previews: PreviewStore;
  pipeline: Pick<Pipeline, 'ensureJob' | 'submitAnew'>;
  orphans: Orphans;
  scratch: Scratch;
  /** A record that was not touched for so long, though it is worked on or about to be, may have lost its job. */
  lostAfterMs: number;
  log: FastifyBaseLogger;
  now?: () => number;
}

export interface PipelineSweep {
  /**
   * Sees to it that uploads that wait for work have a job: those whose records nobody has touched for a while, or
   * `everything`, where no other process can be at work.
   */
  takeUpLost(signal: AbortSignal, everything?: boolean): Promise<void>;
  /** Removes what is left of rejected uploads, of crashed work, and of previews whose upload is gone. */
  tidy(signal: AbortSignal): Promise<void>;
}

/** What is swept after the last byte. Every step is safe to run twice and in several processes. */
export function createPipelineSweep(options: PipelineSweepOptions): PipelineSweep {
  const { store, locker, catalog, previews, pipeline, orphans, scratch, lostAfterMs, log } = options;
  const now = options.now ?? Date.now;

  /** The evidence goes, and the record stays: its URL still says why. */
  async function removeEvidence({ id }: UploadRecord, signal: AbortSignal): Promise<void> {
    await withUploadLock(locker, id, signal, async (lock) => {
      await removeIfThere(store, id, lock);
      await previews.removeAll(id);
      await catalog.update(id, { expiresAtMs: null });
      log.info({ uploadId: id }, 'the bytes of a rejected upload were removed');
    });
  }

  return {
    async takeUpLost(signal, everything = false) {
      for (const state of ['received', 'processing'] as const) {
        for await (const { id, updatedAtMs } of recordsIn(catalog, state, signal)) {
          if (!everything && now() - updatedAtMs < lostAfterMs) continue;
          // As it is now: its job may have ended since the list was made, and another would tell its end once more.
          const record = await catalog.get(id);
          if (record?.state !== 'received' && record?.state !== 'processing') continue;
          if (now() - record.updatedAtMs > GIVEN_UP_AFTER_MS) await pipeline.submitAnew(record);
          else await pipeline.ensureJob(record);
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
