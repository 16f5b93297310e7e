import { type Job, type JobHandler, TerminalJobError, type WorkOptions } from './types.ts';

/** How one attempt ended, and so what the queue has to write down. */
export type Outcome =
  | { end: 'done' }
  | { end: 'retry'; delayMs: number; error: unknown }
  | { end: 'givenUp'; error: unknown }
  /** The process stops, or has lost the lease: the attempt does not count. */
  | { end: 'interrupted' };

/** `onGivenUp` writes to the catalog, which may be away: so many more attempts are made at telling it. */
const MAX_TELLING_ATTEMPTS = 20;

/**
 * Runs one attempt of a job. Never rejects. An attempt past the last one comes of a process that died in the last
 * one, or of an `onGivenUp` that failed: it only gives up, which is safe to do twice.
 *
 * @param lastReason what the attempt before failed with, as far as the queue knows
 */
export async function runAttempt(
  job: Job,
  { maxAttempts, backoffMs, onGivenUp }: Pick<WorkOptions, 'maxAttempts' | 'backoffMs' | 'onGivenUp'>,
  handler: JobHandler,
  signal: AbortSignal,
  lastReason?: string | null,
): Promise<Outcome> {
  let error: unknown;
  if (job.attempt <= maxAttempts) {
    try {
      await handler(job, signal);
      return { end: 'done' };
    } catch (failure) {
      error = failure;
    }
    const isTerminal = error instanceof TerminalJobError;
    if (signal.aborted && !isTerminal) return { end: 'interrupted' };
    if (job.attempt < maxAttempts && !isTerminal) {
      return { end: 'retry', delayMs: delayBefore(job.attempt + 1, error, backoffMs), error };
    }
  } else {
    error = new Error(lastReason || 'the process ended while it worked on this');
  }
  try {
    await onGivenUp?.(job, error);
  } catch (failure) {
    if (job.attempt < maxAttempts + MAX_TELLING_ATTEMPTS) {
      return { end: 'retry', delayMs: delayBefore(job.attempt + 1, failure, backoffMs), error: failure };
    }
  }
  return { end: 'givenUp', error };
}

function delayBefore(attempt: number, error: unknown, backoffMs: WorkOptions['backoffMs']): number {
  const delayMs = backoffMs(attempt, error);
  return delayMs > 0 ? Math.round(delayMs) : 0;
}

/** In a few words, for who looks at the queue itself. */
export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message || error.name : String(error)).slice(0, 500);
}
