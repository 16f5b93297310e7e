import type { RedisUploadLock } from '../locker/redis-lock.ts';
import { redisLockKeys } from '../locker/redis-lock-table.ts';
import type { UploadLock } from '../locker/types.ts';
import { loadScript } from '../redis/script.ts';
import type { RedisCommands } from '../redis/types.ts';
import type { CachedPartList, PartListCache } from './part-list-cache.ts';

/*
 * Part lists in Redis, for all processes: `<prefix>:{<id>}:parts`, JSON, next to the upload's lock (same hash slot),
 * so that one script can compare the lock's token and write. Only locks of the Redis locker with the same Redis and
 * prefix can be compared. A crash leaves the entry of the last acknowledged write, until it expires.
 */

export interface RedisPartListCacheOptions {
  redis: RedisCommands;
  /** The locker's. */
  prefix?: string;
  /** Well below a tombstone's life (a day). */
  ttlMs?: number;
}

const HOUR_MS = 3_600_000;

export function createRedisPartListCache(options: RedisPartListCacheOptions): PartListCache {
  const { redis, prefix = 'landfall', ttlMs = 6 * HOUR_MS } = options;
  const script = loadScript(new URL('./set-part-list.lua', import.meta.url));
  const lockKeys = redisLockKeys(prefix);
  const entryKey = (id: string): string => `${prefix}:{${id}}:parts`;

  return {
    async get(id) {
      try {
        const text = await redis.send('GET', entryKey(id));
        return typeof text === 'string' ? parseEntry(text) : undefined;
      } catch {
        return undefined;
      }
    },

    async setIfLockHeld(id, entry, lock) {
      if (!isRedisUploadLock(lock)) throw new TypeError('This cache needs a lock of the Redis locker.');
      if (lock.lost.aborted) return false;
      const keys = [lockKeys.lock(id), entryKey(id)];
      const kept = await redis.run(script, keys, [lock.token, JSON.stringify(entry), ttlMs]);
      if (kept !== 1) lock.markLost();
      return kept === 1 && !lock.lost.aborted;
    },

    async drop(id) {
      await redis.send('DEL', entryKey(id));
    },
  };
}

function isRedisUploadLock(lock: UploadLock): lock is RedisUploadLock {
  return 'token' in lock && typeof lock.token === 'string';
}

/** Another version of this program may have written it: anything that is not known is a miss. */
function parseEntry(text: string): CachedPartList | undefined {
  const value: unknown = JSON.parse(text);
  const isEntry = typeof value === 'object' && value !== null && 'version' in value && value.version === 1;
  return isEntry ? (value as CachedPartList) : undefined;
}
