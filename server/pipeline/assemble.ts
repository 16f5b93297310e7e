import { availableParallelism } from 'node:os';
import type { FastifyBaseLogger } from 'fastify';
import type { ProcessorHost } from '../../processors/host.ts';
import { processorFor } from '../../processors/index.ts';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { Backend } from '../backend.ts';
import type { Config } from '../config.ts';
import { createHooks } from '../hooks/index.ts';
import type { Meters } from '../metrics/meters.ts';
import { type Announcer, createAnnouncer, type Listener } from './announcer.ts';
import { sha256Of } from './digest.ts';
import { createFinishJob, type FinishJob } from './finish-job.ts';
import { previewSettings, processLimits } from './limits.ts';
import { createOrphans } from './orphans.ts';
import { createPipeline, type Pipeline } from './pipeline.ts';
import { createScratch } from './scratch.ts';
import { createPipelineSweep, type PipelineSweep } from './sweep.ts';
import { createWarmUp } from './warm-up.ts';
import { createWorkPlan, type WorkPlan } from './work-plan.ts';

/** Where there is no lock service that says how long a dead process holds on to things. */
const EMBEDDED_LEASE_MS = 30_000;
/** A record in work is touched once in a lease. */
const LOST_AFTER_LEASES = 4;

export interface PipelineParts {
  backend: Pick<Backend, 'store' | 'catalog' | 'locker' | 'previews' | 'queue' | 'events'>;
  host: Pick<ProcessorHost, 'run' | 'sha256' | 'warmUp'>;
  listeners: readonly Listener[];
  meters: Meters;
  log: FastifyBaseLogger;
}

/** Everything that happens after the last byte, as one configuration has it. */
export interface AssembledPipeline {
  plan: WorkPlan;
  announcer: Announcer;
  pipeline: Pipeline;
  sweep: PipelineSweep;
  job: FinishJob;
  /** LANDFALL_VERIFY_WHEN=before-response: computes the digest of a finished original. */
  digestOf: ((id: string) => Promise<string>) | undefined;
  /** Told of each new upload, where this process's role has it work on them. */
  warmUpFor: ((record: UploadRecord) => void) | undefined;
  /** Takes jobs, where this process's role has it. */
  start(): void;
}

export function assemblePipeline(config: Config, parts: PipelineParts): AssembledPipeline {
  const { backend, host, meters, log } = parts;
  const { store, catalog, locker, previews, queue, events } = backend;
  const plan = createWorkPlan({
    verify: config.verify,
    hasPreviews: config.previews,
    isPreviewable: (mediaType) => processorFor(mediaType) !== undefined,
  });
  const announcer = createAnnouncer({ events, listeners: parts.listeners });
  const pipeline = createPipeline({ queue, announcer, log });
  const orphans = createOrphans({ store, catalog, previews, log });
  const scratch = createScratch({ directory: config.spoolDir, budgetBytes: config.spoolBudgetBytes });
  // A copy has to fit into the scratch directory; files are worked on where they are.
  const maxInputBytes =
    config.s3 === undefined
      ? config.previewMaxInputBytes
      : Math.min(config.previewMaxInputBytes, config.spoolBudgetBytes);
  const hooks = createHooks({
    plan,
    previews,
    host,
    maxInputBytes,
    limitsFor: (mediaType) => processLimits(config, mediaType),
    settings: previewSettings(config),
    onProcessed: (record, media) => meters.processed(record, media),
  });
  const job = createFinishJob({
    store,
    catalog,
    plan,
    hooks,
    announcer,
    hasher: host,
    warmUp: () => host.warmUp(),
    scratch,
    maxInputBytes,
    rejectedRetentionMs: config.rejectedRetentionMs,
    heartbeatMs: jobLeaseMs(config),
    onEnded: (record) => meters.ended(record),
    removeOrphans: (uploadId) => orphans.remove(uploadId),
    log,
  });

  return {
    plan,
    announcer,
    pipeline,
    job,
    sweep: createPipelineSweep({
      store,
      locker,
      catalog,
      previews,
      pipeline,
      orphans,
      scratch,
      lostAfterMs: LOST_AFTER_LEASES * jobLeaseMs(config),
      log,
    }),
    warmUpFor: config.role === 'api' ? undefined : createWarmUp(plan, host),
    digestOf: config.verifyWhen === 'finish' ? undefined : digestOf,
    start() {
      if (config.role === 'api') return;
      pipeline.work({
        job,
        concurrency: jobConcurrency(config),
        leaseMs: jobLeaseMs(config),
      });
    },
  };

  async function digestOf(id: string): Promise<string> {
    const reader = await store.openOriginal(id);
    try {
      return await sha256Of(reader, host);
    } finally {
      await reader.close();
    }
  }
}

/** How long a job of a process that died is held. */
export function jobLeaseMs({ redis }: Config): number {
  return redis?.lockTtlMs ?? EMBEDDED_LEASE_MS;
}

/**
 * Uploads that are worked on at once in one process: half of the processors by default, shared by the server processes
 * of this machine, and at least one.
 */
export function jobConcurrency({ jobConcurrency: configured, processes }: Config): number {
  return configured ?? Math.max(1, Math.floor(availableParallelism() / 2 / processes));
}
