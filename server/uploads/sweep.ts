import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog, UploadRecord } from '../../stores/catalog/types.ts';
import { isStoreError } from '../../stores/errors.ts';
import type { UploadStore } from '../../stores/types.ts';
import type { PipelineSweep } from '../pipeline/sweep.ts';
import { CONCAT_REASONS } from './concat-records.ts';
import { DIRECT_REASON } from './direct-records.ts';
import { recordsIn } from './records-in.ts';
import type { UnattendedUploads } from './unattended-uploads.ts';

/** How long the catalog remembers what is gone, so that its address answers 410 and not 404. */
const TOMBSTONE_MS = 30 * 24 * 3600 * 1000;

export interface SweepOptions {
  store: UploadStore;
  catalog: UploadCatalog;
  unattended: UnattendedUploads;
  pipelineSweep: PipelineSweep;
  log: FastifyBaseLogger;
  now: () => number;
  /** Ends it; what is not swept by then waits for the next time. */
  signal: AbortSignal;
}

export interface SweepCounts {
  expired: number;
  finished: number;
}

/**
 * Removes expired uploads, finishes full ones, forgets old tombstones.
 *
 * @returns a function that does so once
 */
export function createSweep(options: SweepOptions): () => Promise<SweepCounts> {
  const { store, catalog, unattended, pipelineSweep, log, now, signal } = options;

  const isPastExpiry = ({ expiresAtMs }: UploadRecord) => expiresAtMs !== null && expiresAtMs < now();

  async function sweepUnfinished(): Promise<SweepCounts> {
    const counts = { expired: 0, finished: 0 };
    for await (const record of recordsIn(catalog, 'receiving', signal)) {
      try {
        const isExpired = isPastExpiry(record);
        if (record.reasonCode === CONCAT_REASONS.planned && !isExpired) {
          if (await unattended.putTogether(record.id)) counts.finished += 1;
        } else if (isFull(record) && record.reasonCode !== CONCAT_REASONS.partial) {
          if (await unattended.finish(record.id)) counts.finished += 1;
        } else if (record.reasonCode === DIRECT_REASON && !isExpired) {
          if (await unattended.lookAtDirect(record)) counts.finished += 1;
        } else if (isExpired) {
          if (await unattended.expire(record.id)) counts.expired += 1;
        }
      } catch (error) {
        // At the very moment of expiry the store does not say yet: the clocks of several processes differ a little.
        if (isPastExpiry(record) && isStoreError(error) && error.retryable) continue;
        log.warn({ uploadId: record.id, error }, 'sweeping an upload failed');
      }
    }
    return counts;
  }

  async function forgetTombstones(): Promise<void> {
    for (const state of ['expired', 'aborted', 'rejected'] as const) {
      for await (const record of recordsIn(catalog, state, signal)) {
        // A rejected upload has its bytes until then.
        if (state === 'rejected' && record.expiresAtMs !== null) continue;
        if (record.updatedAtMs < now() - TOMBSTONE_MS) await catalog.remove(record.id);
      }
    }
  }

  return async () => {
    const swept = await store.sweep?.(signal);
    if (swept !== undefined && swept.failed > 0) log.warn(swept, 'sweeping the store was not complete');
    const counts = await sweepUnfinished();
    await pipelineSweep.takeUpLost(signal);
    await pipelineSweep.tidy(signal);
    await forgetTombstones();
    return counts;
  };
}

function isFull({ size, offset }: UploadRecord): boolean {
  return size !== null && offset === size;
}
