import { setTimeout as sleep } from 'node:timers/promises';
import { abortedError, ClientError, isClientError } from './errors.ts';

export interface RetryOptions {
  /** How long to go on trying without any progress, in milliseconds. */
  retryForMs: number;
  /** The same where the server cannot be reached at all. Default: as long. */
  unreachableForMs?: number;
  signal: AbortSignal;
  /** Told before every wait. */
  onRetry?: ((retry: RetryNotice) => void) | undefined;
}

export interface RetryNotice {
  error: ClientError;
  delayMs: number;
  /** 1 for the first retry since there was progress. */
  attempt: number;
}

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 30_000;

/** Decides, failure by failure, whether to wait and try again. One object is one thing that is tried. */
export interface Retrier {
  /** Something was achieved: what fails from now on is a new failure. */
  progress(): void;
  /** Waits before the next try; throws the error where there is to be none. */
  failed(error: unknown): Promise<void>;
}

/**
 * Exponential backoff with jitter: of the many clients that a restarted server has, each comes back at another
 * moment. A Retry-After is the least that is waited.
 */
export function createRetrier(options: RetryOptions): Retrier {
  const { retryForMs, unreachableForMs = retryForMs, signal, onRetry } = options;
  let attempt = 0;
  let failingSinceMs: number | undefined;
  return {
    progress() {
      attempt = 0;
      failingSinceMs = undefined;
    },
    async failed(error) {
      if (signal.aborted) throw abortedError(signal);
      if (!(error instanceof ClientError) || !error.isRetryable) throw error;
      const nowMs = performance.now();
      failingSinceMs ??= nowMs;
      const windowMs = isClientError(error, 'network') ? Math.min(unreachableForMs, retryForMs) : retryForMs;
      const leftMs = failingSinceMs + windowMs - nowMs;
      if (leftMs <= 0) throw error;
      attempt += 1;
      const delayMs = Math.min(leftMs, Math.max(backoffMs(attempt), withJitter(error.retryAfterMs ?? 0)));
      onRetry?.({ error, delayMs, attempt });
      await sleep(delayMs, undefined, { signal }).catch(() => {
        throw abortedError(signal);
      });
    },
  };
}

/** Runs `work` until it succeeds, or fails for good. */
export async function withRetries<T>(options: RetryOptions, work: () => Promise<T>): Promise<T> {
  const retrier = createRetrier(options);
  for (;;) {
    try {
      return await work();
    } catch (error) {
      await retrier.failed(error);
    }
  }
}

/** Between half of the delay and all of it. */
function backoffMs(attempt: number): number {
  const fullMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1));
  return fullMs / 2 + (Math.random() * fullMs) / 2;
}

/** Never earlier than asked for, and not all at the same moment. */
function withJitter(retryAfterMs: number): number {
  return retryAfterMs * (1 + Math.random() / 4);
}
