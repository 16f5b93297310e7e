import type { FastifyBaseLogger } from 'fastify';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { JobCounts, JobQueue, JobWorker } from '../../stores/queue/types.ts';
import type { Announcer } from './announcer.ts';
import type { FinishJob } from './finish-job.ts';

export const FINISH_JOB = 'finish';
/** With the waits below, some two hours: a store that is away for longer is looked after by people. */
const MAX_ATTEMPTS = 30;
const FIRST_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 5 * 60 * 1000;

export interface PipelineOptions {
  queue: JobQueue;
  announcer: Announcer;
  log: FastifyBaseLogger;
}

export interface WorkerOptions {
  job: FinishJob;
  /** Uploads that are worked on at once in this process. */
  concurrency: number;
  /** After this long without a sign of life of its process, a job is taken up by another. */
  leaseMs: number;
}

/** What leads from an upload's last byte to its end: a job for each upload, done by whichever process works. */
export interface Pipeline {
  /** Tells that an upload was received, and leaves the job for it. */
  submit(record: UploadRecord): Promise<void>;
  /** Leaves the job for an upload whose record has changed: one that runs now runs once more. */
  resubmit(record: UploadRecord): Promise<void>;
  /** Leaves the job for an upload that should have one; where it has one, nothing changes. */
  ensureJob(record: UploadRecord): Promise<void>;
  /** The same also where its job was given up: for a record that does not say so. */
  submitAnew(record: UploadRecord): Promise<void>;
  /** Takes jobs in this process. */
  work(options: WorkerOptions): void;
  counts(): Promise<JobCounts>;
  /** Takes no more jobs. What runs is ended, and runs again elsewhere or at the next start. */
  close(): Promise<void>;
}

export function createPipeline({ queue, announcer, log }: PipelineOptions): Pipeline {
  let worker: JobWorker | undefined;

  /**
   * An upload is received, then that is told, then its job is left: one without a job may not have been told of, so
   * that a job which is left later tells it first.
   */
  async function leaveJob({ id: uploadId, state }: UploadRecord, unlessRunning: boolean): Promise<void> {
    const data = { uploadId, tellsReceived: state === 'received' };
    await queue.add({ id: jobId(uploadId), kind: FINISH_JOB, data, unlessRunning });
  }

  return {
    async submit(record) {
      await announcer.announceEnd(record);
      await queue.add({ id: jobId(record.id), kind: FINISH_JOB, data: { uploadId: record.id } });
    },
    resubmit: (record) => leaveJob(record, false),
    ensureJob: (record) => leaveJob(record, true),
    async submitAnew(record) {
      await queue.remove(jobId(record.id));
      await leaveJob(record, true);
    },
    work({ job, concurrency, leaseMs }) {
      worker = queue.work(
        FINISH_JOB,
        {
          concurrency,
          leaseMs,
          maxAttempts: MAX_ATTEMPTS,
          backoffMs: (attempt) => Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempt - 2)),
          onGivenUp: (given, error) => job.giveUp(given, error),
        },
        async (given, signal) => {
          try {
            await job.run(given, signal);
          } catch (error) {
            if (!signal.aborted) {
              const { uploadId } = given.data;
              log.warn({ uploadId, attempt: given.attempt, error }, 'an attempt to process an upload failed');
            }
            throw error;
          }
        },
      );
    },
    counts: () => queue.counts(FINISH_JOB),
    async close() {
      await worker?.close();
    },
  };
}

function jobId(uploadId: string): string {
  return `${FINISH_JOB}:${uploadId}`;
}
