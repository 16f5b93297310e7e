import { randomBytes } from 'node:crypto';

/**
 * Everything that the S3 store takes from the world besides S3, the lock and the cache. The simulation
 * (`test/simulation/`) passes a virtual one, so nothing in `stores/s3/` reads a clock or makes a timer elsewhere.
 */
export interface Environment {
  /** Wall-clock milliseconds: expiry is compared with it across processes. */
  nowMs(): number;
  /** Calls back after `ms`; the returned function cancels. Never keeps the process alive. */
  setTimer(ms: number, callback: () => void): () => void;
  /** In [0, 1): spreads retries. */
  random(): number;
  /** Lower-case hex of `bytes` random bytes. */
  randomHex(bytes: number): string;
}

export const systemEnvironment: Environment = {
  nowMs: () => Date.now(),
  setTimer(ms, callback) {
    const timer = setTimeout(callback, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
  randomHex: (bytes) => randomBytes(bytes).toString('hex'),
};

/** Resolves after `ms`, or at once when `signal` aborts (the caller looks at the signal). */
export function pause(environment: Environment, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const cancel = environment.setTimer(ms, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}
