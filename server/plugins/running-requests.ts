import type { Server } from 'node:http';

export interface RunningRequests {
  /** Those that have begun and have not got all of their answer. */
  readonly count: number;
  /** Resolves once every request that has begun has its whole answer, or lost its client. */
  whenNone(): Promise<void>;
}

/**
 * Counts the requests that are being answered, so that a shutdown can tell the connections that still matter from
 * those that a client merely keeps open, or on which it sent half a head.
 */
export function countRunningRequests(server: Server): RunningRequests {
  let running = 0;
  let resolveNone: (() => void) | undefined;
  // Before Fastify's own, which may have answered when it returns.
  server.prependListener('request', (_req, res) => {
    running += 1;
    res.once('close', () => {
      running -= 1;
      if (running === 0) resolveNone?.();
    });
  });
  return {
    get count() {
      return running;
    },
    async whenNone() {
      if (running === 0) return;
      await new Promise<void>((resolve) => {
        resolveNone = resolve;
      });
    },
  };
}
