import { setTimeout as sleep } from 'node:timers/promises';
import { abortedError } from './errors.ts';

/** One limit for everything that is sent with it, however many requests that are. */
export interface RateLimiter {
  /** No more than this should be taken at once: a tenth of a second's worth. */
  readonly pieceBytes: number;
  /** Resolves when so many bytes may be sent. Whoever asks first is served first. */
  take(bytes: number, signal: AbortSignal): Promise<void>;
}

const PIECES_PER_SECOND = 10;
const MIN_PIECE_BYTES = 1024;
/** Time that was not used is not saved up for longer: it would be spent in one burst. */
const MAX_CREDIT_MS = 200;

/** @param bytesPerSecond at least 1 */
export function createRateLimiter(bytesPerSecond: number): RateLimiter {
  let dueMs = performance.now();
  return {
    pieceBytes: Math.max(MIN_PIECE_BYTES, Math.floor(bytesPerSecond / PIECES_PER_SECOND)),
    async take(bytes, signal) {
      const nowMs = performance.now();
      const startMs = Math.max(dueMs, nowMs - MAX_CREDIT_MS);
      dueMs = startMs + (bytes / bytesPerSecond) * 1000;
      if (startMs <= nowMs) return;
      await sleep(startMs - nowMs, undefined, { signal }).catch(() => {
        throw abortedError(signal);
      });
    },
  };
}
