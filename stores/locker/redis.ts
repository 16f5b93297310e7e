import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '../clock.ts';
import { loadScript } from '../redis/script.ts';
import type { RedisCommands, RedisSubscriber } from '../redis/types.ts';
import { RedisLock, type RedisUploadLock } from './redis-lock.ts';
import { type LockTable, type RedisLockEvent, redisLockKeys } from './redis-lock-table.ts';
import type { Locker } from './types.ts';

/*
 * Locks that many processes share, in Redis. Written there, per upload and only while it is locked or wanted:
 * `<prefix>:{<id>}:lock`, the holder's random token with a time to live, and `<prefix>:{<id>}:waiters`, who queues
 * for it. `landfall:lock-era` says since when this server may be believed (see acquire.lua); in a Cluster each node has
 * one, `landfall:lock-era:{<tag>}`.
 *
 * Taking a free lock is one round trip, giving it back another. Who finds it taken queues up in Redis; the script
 * sends the holder's process a request to release it, and the release hands it to the first in the queue and tells
 * that one's process. Each process listens to one channel of its own. Nothing polls; for messages that get lost there
 * are two nets: a waiter asks again when the holder's time to live would be over, and a renewal tells the holder
 * that somebody waits. In one process only the first request for an upload talks to Redis, the others queue here.
 *
 * A crash leaves the lock until its time to live is over, and waiters that are skipped. Redis that forgets (wiped,
 * restored, failed over without the last writes) ends every lease it does not know, at its next renewal at the latest.
 *
 * What this lock cannot do: stop a write that is already on its way to S3 when its holder is stopped. That such a
 * write does no harm is the store's part.
 */

export interface RedisLockerOptions {
  redis: RedisCommands;
  subscriber: RedisSubscriber;
  /** What every key and channel begins with. */
  prefix?: string;
  /** How long a lock outlives its last renewal. */
  ttlMs?: number;
  /** How long `lock` waits before it rejects with upload_locked. */
  timeoutMs?: number;
  /**
   * How long no lock is granted by a Redis that may have forgotten some: at least `ttlMs`, which is the default.
   * 0: such a Redis is believed at once, and two holders may overlap until the first one's next renewal.
   */
  distrustMs?: number;
  clock?: Clock;
  monotonicMs?: () => number;
  /** Random, printable, without dots. */
  newRandomId?: () => string;
  onEvent?: (event: RedisLockEvent) => void;
}

export interface RedisLocker extends Locker {
  newLock(id: string): RedisUploadLock;
}

/** A script's file is read here, once per locker. */
export function createRedisLocker(options: RedisLockerOptions): RedisLocker {
  const { redis, subscriber, prefix = 'landfall', ttlMs = 6_000, timeoutMs = 8_000 } = options;
  const { newRandomId = () => randomBytes(12).toString('base64url') } = options;
  const lockerId = newRandomId();
  const table: LockTable = {
    redis,
    scripts: {
      acquire: loadScript(new URL('./acquire.lua', import.meta.url)),
      release: loadScript(new URL('./release.lua', import.meta.url)),
      renew: loadScript(new URL('./renew.lua', import.meta.url)),
    },
    keys: redisLockKeys(prefix),
    ttlMs,
    timeoutMs,
    distrustMs: options.distrustMs ?? ttlMs,
    clock: options.clock ?? systemClock,
    monotonicMs: options.monotonicMs ?? (() => performance.now()),
    newToken: () => `${lockerId}.${newRandomId()}`,
    onEvent: options.onEvent ?? (() => {}),
    queues: new Map(),
    byToken: new Map(),
    pending: new Set(),
    isClosed: false,
  };

  const onMessage = (message: string): void => {
    const space = message.indexOf(' ');
    const lock = table.byToken.get(message.slice(space + 1));
    if (message.startsWith('want ')) lock?.askToRelease();
    else if (message.startsWith('go ')) lock?.wake();
  };
  const onResumed = (): void => {
    for (const lock of table.byToken.values()) lock.wake();
    void warmUp();
  };
  const unsubscribe = subscriber.subscribe(table.keys.channelPrefix + lockerId, onMessage, onResumed);

  /**
   * Takes a lock that nobody wants (of each node), so that a Redis which has to be distrusted for a while begins with
   * that now and not at the first upload, and so that it knows our scripts. No upload's id has a dot.
   */
  async function warmUp(): Promise<void> {
    const ids = redis.cluster?.tags() ?? [`warm-up.${lockerId}`];
    await Promise.all(
      ids.map(async (id) => {
        const lock = new RedisLock(table, id);
        await lock.lock(new AbortController().signal, () => {}).catch(() => {});
        await lock.unlock();
      }),
    );
  }
  const stopWatching = redis.cluster?.onChange(() => void warmUp());

  return {
    newLock: (id) => new RedisLock(table, id),

    /**
     * Who waits is turned away with store_unavailable. Locks that are still held are lost to their holders and given
     * back: nothing would renew them any more.
     */
    async close() {
      if (table.isClosed) return;
      table.isClosed = true;
      unsubscribe();
      stopWatching?.();
      for (const lock of [...table.queues.values()].flatMap((queue) => [...queue])) lock.close();
      // What is on its way may ask for something more when it is done.
      while (table.pending.size > 0) await Promise.all(table.pending);
    },
  };
}
