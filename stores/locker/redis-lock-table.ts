import type { Clock } from '../clock.ts';
import type { RedisCommands, RedisScript } from '../redis/types.ts';
import type { RedisLock } from './redis-lock.ts';

/** What the locks of one Redis locker share. */
export interface LockTable {
  readonly redis: RedisCommands;
  readonly scripts: { acquire: RedisScript; release: RedisScript; renew: RedisScript };
  readonly keys: RedisLockKeys;
  readonly ttlMs: number;
  readonly timeoutMs: number;
  readonly distrustMs: number;
  readonly clock: Clock;
  readonly monotonicMs: () => number;
  readonly newToken: () => string;
  readonly onEvent: (event: RedisLockEvent) => void;
  /** Per upload, in the order of arrival: the first one holds the lock or asks Redis for it, the others wait. */
  readonly queues: Map<string, Set<RedisLock>>;
  /** Locks that Redis knows of: who a message is for. */
  readonly byToken: Map<string, RedisLock>;
  /** Requests to Redis that nobody else waits for. */
  readonly pending: Set<Promise<void>>;
  isClosed: boolean;
}

/** For the log. */
export interface RedisLockEvent {
  event: 'lock_lost' | 'lock_release_failed';
  uploadId: string;
  message: string;
}

export interface RedisLockKeys {
  lock(id: string): string;
  waiters(id: string): string;
  era: string;
  /** In a Cluster, of the node that has this tag (stores/redis/types.ts). */
  nodeEra(tag: string): string;
  /** A locker's id follows. */
  channelPrefix: string;
}

/** Everything of one upload lies in one hash slot of a Cluster: only what is in the braces is hashed. */
export function redisLockKeys(prefix: string): RedisLockKeys {
  return {
    lock: (id) => `${prefix}:{${id}}:lock`,
    waiters: (id) => `${prefix}:{${id}}:waiters`,
    era: 'landfall:lock-era',
    nodeEra: (tag) => `landfall:lock-era:{${tag}}`,
    channelPrefix: `${prefix}:locker:`,
  };
}
