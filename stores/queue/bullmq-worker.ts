import { type Job as BullJob, UnrecoverableError, WaitingError, Worker } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import { inTime } from '../redis/client-care.ts';
import { reasonOf, runAttempt } from './attempt.ts';
import { type BullJobData, type BullJobs, fromBullId } from './bullmq-jobs.ts';
import type { JobHandler, JobWorker, WorkOptions } from './types.ts';

export interface BullWorkerOptions extends WorkOptions {
  kind: string;
  prefix: string;
  jobs: BullJobs;
  client: Redis | Cluster;
  handler: JobHandler;
  onError: (error: Error) => void;
}

/** A worker that BullMQ cannot end, because Redis is away, is left behind after so long. */
const CLOSE_TIMEOUT_MS = 3_000;
/** For what BullMQ itself fails with. */
const DEFAULT_BACKOFF_MS = 1_000;

/** Says to BullMQ when to try again. */
class RetryError extends Error {
  readonly delayMs: number;

  constructor(delayMs: number, reason: string) {
    super(reason);
    this.delayMs = delayMs;
  }
}

export function createBullWorker(options: BullWorkerOptions): JobWorker {
  const { kind, prefix, jobs, client, handler, leaseMs, concurrency, onError } = options;
  const stop = new AbortController();
  /** Everything that has to end before the worker is closed. */
  const tasks = new Set<Promise<unknown>>();

  function track<T>(task: Promise<T>): Promise<T> {
    tasks.add(task);
    const forget = (): void => void tasks.delete(task);
    task.then(forget, forget);
    return task;
  }

  async function attempt(bullJob: BullJob<BullJobData>, token = '', lost?: AbortSignal): Promise<void> {
    const id = fromBullId(bullJob.id ?? '');
    const note = await jobs.readNote(id);
    // BullMQ's own commands wait for as long as Redis is away; what the end of a worker waits for must not.
    if (note !== undefined) {
      await inTime(bullJob.updateData({ ...bullJob.data, data: note.data }));
      await jobs.dropNote(id);
    }
    const job = {
      id,
      kind,
      data: bullJob.data.data,
      // Attempts that failed, those whose process died, and this one.
      attempt: bullJob.attemptsMade + bullJob.stalledCounter + 1,
    };
    const signal = lost === undefined ? stop.signal : AbortSignal.any([lost, stop.signal]);
    const outcome = await runAttempt(job, options, handler, signal, bullJob.failedReason);
    switch (outcome.end) {
      case 'done':
        return;
      case 'retry':
        throw new RetryError(outcome.delayMs, reasonOf(outcome.error));
      case 'givenUp':
        throw new UnrecoverableError(reasonOf(outcome.error));
      case 'interrupted':
        // Without the lease it is not ours to give back any more.
        await inTime(bullJob.moveToWait(token)).catch(onError);
        throw new WaitingError();
    }
  }

  const worker = new Worker<BullJobData>(
    kind,
    // BullMQ passes a signal to a function with three parameters only.
    (job, token, signal) => track(attempt(job, token, signal)),
    {
      connection: client,
      prefix,
      concurrency,
      lockDuration: leaseMs,
      stalledInterval: Math.max(leaseMs / 2, 50),
      // Died too often: `attempt` counts that.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      runRetryDelay: DEFAULT_BACKOFF_MS,
      settings: {
        backoffStrategy: (_attempts, _type, error) =>
          error instanceof RetryError ? error.delayMs : DEFAULT_BACKOFF_MS,
      },
    },
  );
  const runAgain = (job: BullJob<BullJobData> | undefined): void => {
    if (job?.id !== undefined) track(jobs.runAgain(fromBullId(job.id))).catch(onError);
  };
  worker.on('error', onError);
  worker.on('completed', runAgain);
  worker.on('failed', runAgain);
  worker.on('lockRenewalFailed', (jobIds) => {
    for (const jobId of jobIds) worker.cancelJob(jobId, 'the lease was lost');
  });
  const timer = setInterval(() => void jobs.runAllAgain().catch(onError), Math.max(leaseMs, 1_000));
  timer.unref();

  async function whenIdle(): Promise<void> {
    while (tasks.size > 0) await Promise.allSettled(tasks);
  }

  let closing: Promise<void> | undefined;
  return {
    close() {
      closing ??= (async () => {
        stop.abort();
        clearInterval(timer);
        const closed = worker.close().catch(onError);
        await whenIdle();
        let timeout: NodeJS.Timeout | undefined;
        const tooLong = new Promise((resolve) => {
          timeout = setTimeout(resolve, CLOSE_TIMEOUT_MS);
        });
        await Promise.race([closed, tooLong]);
        clearTimeout(timeout);
        // What ended last may have been added while it ran.
        await whenIdle();
      })();
      return closing;
    },
  };
}
