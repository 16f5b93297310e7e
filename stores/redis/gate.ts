import type { Cluster, Redis } from 'ioredis';
import { unavailable } from './failure.ts';

/** Says whether commands can be sent, and lets them wait out a short break. */
export interface Gate {
  isOpen(): boolean;
  /**
   * Resolves once commands can be sent. Rejects with store_unavailable after `timeoutMs`; by default when the
   * connection has been away for longer than a short break, which is at once where it is known to be down.
   */
  wait(timeoutMs?: number): Promise<void>;
  close(): void;
}

/** A broken connection is usually back within this time. */
const GRACE_MS = 700;

export function createGate(client: Redis | Cluster, now: () => number = () => performance.now()): Gate {
  let downSinceMs: number | undefined = now();
  let isClosed = false;
  const waiting = new Set<() => void>();
  const letGo = (): void => {
    for (const proceed of [...waiting]) proceed();
  };
  client.on('ready', () => {
    downSinceMs = undefined;
    letGo();
  });
  client.on('close', () => {
    downSinceMs ??= now();
  });
  const isOpen = (): boolean => client.status === 'ready' && !isClosed;
  return {
    isOpen,
    wait(timeoutMs = GRACE_MS - (now() - (downSinceMs ?? now()))) {
      if (isOpen()) return Promise.resolve();
      if (isClosed || timeoutMs <= 0) return Promise.reject(unreachable());
      return new Promise((resolve, reject) => {
        const proceed = (): void => {
          clearTimeout(timer);
          waiting.delete(proceed);
          if (isOpen()) resolve();
          else reject(unreachable());
        };
        const timer = setTimeout(proceed, timeoutMs);
        waiting.add(proceed);
      });
    },
    close() {
      isClosed = true;
      letGo();
    },
  };
}

function unreachable() {
  return unavailable(new Error('no connection'));
}
