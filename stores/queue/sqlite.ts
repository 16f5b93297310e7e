import { type Clock, systemClock } from '../clock.ts';
import type { StoreError } from '../errors.ts';
import { openDatabaseFile, openOrRecreate, type RecreatedEvent } from '../sqlite/database-file.ts';
import { runAttempt } from './attempt.ts';
import { checkJob, checkKind, parseJobData } from './job-rules.ts';
import { createSqliteJobs } from './sqlite-jobs.ts';
import { type JobRow, MIGRATIONS } from './sqlite-schema.ts';
import type { JobHandler, JobQueue, JobWorker, WorkOptions } from './types.ts';

/*
 * The queue of one process, in one SQLite file (`path`, and beside it `-wal` and `-shm` while it is open): a row per
 * job, until it is done. Nothing polls: adding and finishing a job look for the next one, and a timer waits for the
 * first that is not due yet.
 *
 * What is written is committed before anybody is told: a job that was added, and that one is started, survive a
 * kill. (Not a power cut, which may take the last commits with it: the catalog, the truth, fills the queue again.)
 * Whoever opens the file is its only user, so a job that is active then was left by a process that died: it waits
 * again at once, and the attempt counts, so that a job which kills its process is given up some day. If the file is
 * damaged it is moved away, and the queue starts empty.
 */

export interface SqliteQueueOptions {
  path: string;
  clock?: Clock;
  /** Told of every failed commit, with the number of writes that are lost by it (0: it is tried again). */
  onCommitFailed?: (error: StoreError, lostWrites: number) => void;
  /** Told when a damaged file was moved to `damagedPath` and an empty one took its place. */
  onRecreated?: (event: RecreatedEvent) => void;
}

/** After a failure of the database, workers look again so much later. */
const LOOK_AGAIN_MS = 1_000;
/** The clock may be set, and a timer cannot wait for a month: so often workers look at the time at least. */
const MAX_SLEEP_MS = 60_000;

/** Opens or creates the queue at `path`. Throws store_unavailable or storage_full when that cannot be done. */
export function openSqliteQueue(options: SqliteQueueOptions): JobQueue {
  const { path, clock = systemClock, onCommitFailed, onRecreated } = options;
  const db = openOrRecreate({ path, clock, onRecreated }, () =>
    openDatabaseFile({ path, migrations: MIGRATIONS }),
  );
  const jobs = createSqliteJobs({ db, path, clock, onCommitFailed });
  const workers = new Map<string, JobWorker & { look(): void }>();
  const running = new Set<string>();
  jobs.restart(running);
  jobs.flush();

  function createWorker(kind: string, options: WorkOptions, handler: JobHandler) {
    const attempts = new Set<Promise<void>>();
    const stop = new AbortController();
    let cancelTimer: (() => void) | undefined;

    function lookIn(delayMs: number): void {
      cancelTimer?.();
      cancelTimer = stop.signal.aborted ? undefined : clock.setTimer(look, Math.min(delayMs, MAX_SLEEP_MS));
    }

    /** Starts what is due, as far as there is room. */
    function look(): void {
      if (stop.signal.aborted) return;
      try {
        while (attempts.size < options.concurrency) {
          const row = jobs.take(kind);
          if (row === undefined) {
            const atMs = jobs.nextAtMs(kind);
            if (atMs !== undefined) lookIn(Math.max(atMs - clock.now(), 1));
            return;
          }
          const attempt = run(row).finally(() => {
            attempts.delete(attempt);
            look();
          });
          attempts.add(attempt);
        }
      } catch {
        lookIn(LOOK_AGAIN_MS); // the database failed; `check` says so
      }
    }

    /** Never rejects. What the database could not be told of runs again. */
    async function run({ id, data, attempts: attempt, reason }: JobRow): Promise<void> {
      running.add(id);
      try {
        // A job that kills its process has to be counted: it is not begun before that is certain.
        await jobs.committed();
        const job = { id, kind, data: parseJobData(data), attempt };
        const outcome = await runAttempt(job, options, handler, stop.signal, reason);
        running.delete(id);
        jobs.settle(id, kind, outcome);
        await jobs.committed();
      } catch {
        running.delete(id);
        clock.setTimer(restart, LOOK_AGAIN_MS);
      }
    }

    return {
      look,
      async close() {
        stop.abort();
        cancelTimer?.();
        await Promise.all(attempts);
        if (workers.get(kind) === this) workers.delete(kind);
      },
    };
  }

  /** After a commit was lost, jobs may be marked as running that are not. */
  function restart(): void {
    if (!db.isOpen) return;
    try {
      jobs.restart(running);
    } catch {
      clock.setTimer(restart, LOOK_AGAIN_MS);
    }
    for (const worker of workers.values()) worker.look();
  }

  return {
    async add(job) {
      const data = checkJob(job);
      const { id, kind, delayMs = 0, unlessRunning = false } = job;
      const isAdded = jobs.add({ id, kind, data, atMs: clock.now() + delayMs, unlessRunning });
      // Also when somebody else added it a moment ago: it waits for certain then.
      await jobs.committed();
      if (isAdded) workers.get(job.kind)?.look();
      return isAdded;
    },

    work(kind, options, handler) {
      checkKind(kind);
      if (workers.has(kind)) throw new Error(`there is a worker for ${kind} already`);
      const worker = createWorker(kind, options, handler);
      workers.set(kind, worker);
      worker.look();
      return worker;
    },

    async remove(id) {
      const isRemoved = jobs.remove(id);
      await jobs.committed();
      return isRemoved;
    },

    async counts(kind) {
      return jobs.counts(kind);
    },

    check: () => jobs.check(),

    async close() {
      if (!db.isOpen) return;
      await Promise.all([...workers.values()].map((worker) => worker.close()));
      if (!db.isOpen) return;
      try {
        jobs.flush();
      } finally {
        db.close();
      }
    },
  };
}
