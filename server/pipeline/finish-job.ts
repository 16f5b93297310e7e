import type { FastifyBaseLogger } from 'fastify';
import { sniffMediaType } from '../../processors/sniff.ts';
import type { UploadCatalog, UploadPatch, UploadRecord } from '../../stores/catalog/types.ts';
import { isStoreError, isUploadMissing } from '../../stores/errors.ts';
import { parseMediaInfo } from '../../stores/media-info.ts';
import { type Job, TerminalJobError } from '../../stores/queue/types.ts';
import type { UploadStore } from '../../stores/types.ts';
import type { Hook } from '../hooks/types.ts';
import type { Announcer } from './announcer.ts';
import type { FileHasher } from './digest.ts';
import { mediaOfType } from './media-type.ts';
import { pendingRejection, type Rejection, rejectedPatch } from './rejection.ts';
import type { Scratch } from './scratch.ts';
import type { WorkPlan } from './work-plan.ts';
import { openWorkingCopy, type WorkingCopy } from './working-copy.ts';

export interface FinishJobOptions {
  store: UploadStore;
  catalog: UploadCatalog;
  plan: WorkPlan;
  hooks: readonly Hook[];
  announcer: Announcer;
  hasher: FileHasher;
  /** Starts what previews are made in. */
  warmUp: () => Promise<void>;
  scratch: Scratch;
  /** Bytes of the largest original of which previews are made. */
  maxInputBytes: number;
  rejectedRetentionMs: number;
  /** A record that is worked on says so this often: the sweep takes a silent one for lost. */
  heartbeatMs: number;
  /** Told once of each upload that this process brought to its end. */
  onEnded?: (record: UploadRecord) => void;
  /** Removes the previews of an upload that is not there any more. */
  removeOrphans: (uploadId: string) => Promise<unknown>;
  log: FastifyBaseLogger;
  now?: () => number;
}

export interface FinishJob {
  /** Brings one received upload to its end. */
  run(job: Job, signal: AbortSignal): Promise<void>;
  /** It was tried often enough, or would never work. */
  giveUp(job: Job, error: unknown): Promise<void>;
}

/**
 * `received -> processing -> ready | rejected | failed`, and who wants to know is told.
 *
 * A crash at any instruction repeats the job: the hooks are safe to run again, each change of state happens once
 * (compare-and-set), and the end is told before the job counts as done. So it is told at least once, under an id that
 * depends on the upload and its end alone. A run that finds the upload at its end only tells it. Two runs at once
 * (a process was taken for dead and was not) do the same work twice, with the same results.
 */
export function createFinishJob(options: FinishJobOptions): FinishJob {
  const { store, catalog, plan, hooks, announcer, hasher, warmUp, scratch, log } = options;
  const { maxInputBytes, rejectedRetentionMs, heartbeatMs, onEnded, removeOrphans, now = Date.now } = options;

  async function run(job: Job, signal: AbortSignal): Promise<void> {
    const id = uploadIdOf(job);
    if (job.data.tellsReceived === true) {
      const record = await catalog.get(id);
      if (record?.state === 'received') await announcer.announceEnd(record);
    }
    const begun = await catalog.transition(id, ['received', 'processing'], 'processing');
    if (begun === undefined) return concludeElsewhere(id);
    const heartbeat = setInterval(() => {
      catalog.update(id, { updatedAtMs: now() }).catch(() => {});
    }, heartbeatMs);
    heartbeat.unref();
    try {
      await work(begun, job, signal);
    } catch (error) {
      if (isStoreError(error, 'upload_damaged')) throw new TerminalJobError(error.message, { cause: error });
      if (!isUploadMissing(error)) throw error;
      // Deleted by its client while it was worked on?
      const record = await catalog.get(id);
      if (record?.state !== 'processing') return concludeElsewhere(id);
      throw new TerminalJobError('the original is missing', { cause: error });
    } finally {
      clearInterval(heartbeat);
    }
  }

  async function work(begun: UploadRecord, job: Job, signal: AbortSignal): Promise<void> {
    const refused = pendingRejection(begun);
    if (refused !== undefined) return reject(begun.id, refused);
    const { record, rejection } = await runHooks(begun, job, signal);
    if (rejection !== undefined) return reject(record.id, rejection);

    const ready = await catalog.transition(record.id, 'processing', 'ready', { updatedAtMs: now() });
    if (ready === undefined) return concludeElsewhere(record.id);
    if (!plan.isVerified(ready)) {
      // A digest was declared, and a second run of this job had taken the upload up since.
      const again = await catalog.transition(record.id, 'ready', 'processing');
      return again === undefined ? concludeElsewhere(record.id) : work(again, job, signal);
    }
    log.info({ uploadId: ready.id, attempt: job.attempt }, 'upload ready');
    onEnded?.(ready);
    await tellEnd(ready);
  }

  async function runHooks(
    begun: UploadRecord,
    { attempt }: Job,
    signal: AbortSignal,
  ): Promise<{ record: UploadRecord; rejection?: Rejection }> {
    const startedAtMs = now();
    const { id } = begun;
    let record = begun;
    const keep = async (patch: UploadPatch) => {
      await catalog.update(id, patch);
      record = { ...record, ...patch };
    };
    // While the original is opened, looked at and copied. The hook that needs it meets what is wrong with it.
    if (plan.wantsPreviews(typeOf(record))) warmUp().catch(() => {});
    const original = await openOriginal(id, () => plan.wantsPreviews(typeOf(record)), signal);
    try {
      if (record.media === null) {
        await keep({ media: mediaOfType(sniffMediaType(await original.head()) ?? null) });
      }
      for (const hook of hooks) {
        signal.throwIfAborted();
        if (!hook.appliesTo(record)) continue;
        const result = await hook.run({
          record,
          mediaType: typeOf(record),
          original,
          attempt,
          startedAtMs,
          signal,
          announce: (type, data) => announcer.announce(record, type, data),
        });
        if (result.patch !== undefined) await keep(result.patch);
        if (result.rejection !== undefined) return { record, rejection: result.rejection };
      }
      return { record };
    } finally {
      await original.close();
    }
  }

  async function openOriginal(
    id: string,
    willNeedPath: () => boolean,
    signal: AbortSignal,
  ): Promise<WorkingCopy> {
    const reader = await store.openOriginal(id);
    return openWorkingCopy({
      reader,
      hasher,
      scratch,
      willNeedPath: () => reader.size <= maxInputBytes && willNeedPath(),
      signal,
    });
  }

  async function reject(id: string, rejection: Rejection): Promise<void> {
    const patch = rejectedPatch(rejection, rejectedRetentionMs, now());
    const rejected = await catalog.transition(id, 'processing', 'rejected', patch);
    if (rejected === undefined) return concludeElsewhere(id);
    const { declaredSha256: declared, sha256 } = rejected;
    log.warn({ uploadId: id, ...rejection, declared, sha256 }, 'upload rejected');
    onEnded?.(rejected);
    await tellEnd(rejected);
  }

  /** Somebody else changed the state: an end is told here too, since they may have died before they did. */
  async function concludeElsewhere(id: string): Promise<void> {
    const record = await catalog.get(id);
    switch (record?.state) {
      case 'ready':
      case 'rejected':
      case 'failed':
        return tellEnd(record);
      case undefined:
      case 'aborted':
      case 'expired':
        await removeOrphans(id);
        return;
      // Received: a digest was declared meanwhile, and came with a job of its own. Receiving: a crash took the last
      // rows of the catalog, and the finish that is repeated for it adds the job again.
      default:
    }
  }

  async function tellEnd(record: UploadRecord): Promise<void> {
    // What was told must not be taken back by a crash.
    await catalog.flush();
    await announcer.announceEnd(record);
  }

  async function giveUp(job: Job, error: unknown): Promise<void> {
    const id = uploadIdOf(job);
    const failed = await catalog.transition(id, ['received', 'processing'], 'failed', {
      updatedAtMs: now(),
      reasonCode: 'processing_failed',
      reason:
        error instanceof TerminalJobError
          ? `The upload could not be processed: ${error.message}.`
          : 'The upload could not be processed, though it was tried again and again.',
    });
    log.error({ uploadId: id, attempts: job.attempt, error }, 'an upload could not be processed');
    if (failed === undefined) return;
    onEnded?.(failed);
    await tellEnd(failed);
  }

  return { run, giveUp };
}

function uploadIdOf(job: Job): string {
  return String(job.data.uploadId);
}

function typeOf(record: UploadRecord): string | null {
  return parseMediaInfo(record.media)?.type ?? null;
}
