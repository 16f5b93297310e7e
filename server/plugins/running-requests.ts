import type { Server } from 'node:http';

export interface RunningRequests {
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
  server.on('request', (_req, res) => {
    running += 1;
    res.once('close', () => {
      running -= 1;
      if (running === 0) resolveNone?.();
    });
  });
  return {
    async whenNone() {
      if (running === 0) return;
      await new Promise<void>((resolve) => {
        resolveNone = resolve;
      });
    },
  };
}
