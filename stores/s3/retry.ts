import { type Environment, pause } from '../environment.ts';
import { StoreError } from '../errors.ts';
import { isS3Failure, S3PortError } from './port.ts';

export interface RetryPolicy {
  /** Calls in all, the first one included. */
  attempts: number;
  /** Milliseconds before the second call; each further wait is three times as long, give or take a third. */
  firstDelayMs: number;
}

/**
 * Calls again after an ambiguous failure. Only for calls whose repetition does no harm: reads, conditional PUTs,
 * tails and parts (the same bytes under the same name), aborts and deletions.
 */
export async function withRetries<T>(
  environment: Environment,
  policy: RetryPolicy,
  call: (attempt: number) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  let delayMs = policy.firstDelayMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call(attempt);
    } catch (error) {
      if (attempt >= policy.attempts || signal?.aborted || !isS3Failure(error, 'ambiguous')) throw error;
    }
    await pause(environment, delayMs * (2 / 3 + (environment.random() * 2) / 3), signal);
    delayMs *= 3;
  }
}

/** What a caller outside this store may see of a failure: never S3's own words about keys or credentials. */
export function toStoreError(error: unknown, doing: string): StoreError {
  if (error instanceof StoreError) return error;
  const failure = error instanceof S3PortError ? error.failure : 'unexpected';
  return new StoreError('store_unavailable', `S3: ${doing} failed (${failure})`, { cause: error });
}
