/** Work that is done later, maybe by another process. The contract suite is `test/contracts/job-queue.ts`. */
export interface Job {
  /**
   * Says what is to be done and to what, such as `finish:<upload>`: asking twice for the same work is one job.
   * Letters, digits and `: . _ -`, at most 200. An id belongs to one kind.
   */
  id: string;
  /** Which handler does it. */
  kind: string;
  /** JSON, at most some kilobytes: facts live in the catalog, a job only names them. */
  data: JobData;
  /** 1 the first time. */
  attempt: number;
}

export type JobData = Readonly<Record<string, string | number | boolean | null>>;

export interface NewJob {
  id: string;
  kind: string;
  data?: JobData;
  /** Not before so many milliseconds from now. */
  delayMs?: number;
  /** A job of this id that is running at this moment is enough: for who brings no news, and only sees to it that there is one. */
  unlessRunning?: boolean;
}

export interface WorkOptions {
  /** Jobs of this kind that run at once in this process. */
  concurrency: number;
  /** After so many attempts a job is given up. */
  maxAttempts: number;
  /** Milliseconds to wait before the given attempt (2 or later); `error` is what the one before it failed with. */
  backoffMs: (attempt: number, error: unknown) => number;
  /**
   * A job whose process died is taken up by another after this many milliseconds without a sign of life (a running
   * handler gives signs by itself).
   */
  leaseMs: number;
  /**
   * Told about each job that is given up: too many attempts, or a TerminalJobError. Once, but for a crash in the
   * middle of it; when it rejects, the job is tried again (past `maxAttempts` only this is), and it is told again.
   */
  onGivenUp?: (job: Job, error: unknown) => Promise<void>;
}

/** Runs at least once for every job; `signal` aborts when this process stops or has lost the lease. */
export type JobHandler = (job: Job, signal: AbortSignal) => Promise<void>;

export interface JobWorker {
  /** Takes no more jobs; waits for running ones, aborting their signals; what did not finish runs again elsewhere. */
  close(): Promise<void>;
}

export interface JobCounts {
  waiting: number;
  delayed: number;
  active: number;
  givenUp: number;
}

/** At-least-once. The catalog is the truth about uploads: a queue that was lost is filled again from it. */
export interface JobQueue {
  /**
   * Durable once it resolves. False, and nothing changes, when a job of this id waits or was given up. One that is
   * running at this moment runs once more afterwards: what it was to see may have come too late for it (unless
   * `unlessRunning`: then that is false, too).
   */
  add(job: NewJob): Promise<boolean>;
  /** Starts to take jobs of one kind. Once per kind and process. */
  work(kind: string, options: WorkOptions, handler: JobHandler): JobWorker;
  /** Forgets a job that was given up (so that it can be added again) or waits. False when there is none, or it runs. */
  remove(id: string): Promise<boolean>;
  counts(kind: string): Promise<JobCounts>;
  check(): Promise<void>;
  close(): Promise<void>;
}

/** Thrown by a handler for what no other attempt would change. */
export class TerminalJobError extends Error {
  override readonly name = 'TerminalJobError';
}
