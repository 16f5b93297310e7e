import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CachedPartList } from '../../stores/s3/part-list-cache.ts';
import { createRedisPartListCache } from '../../stores/s3/redis-part-list-cache.ts';
import { freeLock } from '../support/memory-lock.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { createFleet, type LockerFleet } from '../support/redis-lockers.ts';

const never = new AbortController().signal;
const ignore = (): void => {};

const entry: CachedPartList = {
  version: 1,
  info: {
    format: 1,
    version: 3,
    id: 'upload',
    size: 5 * 2 ** 40,
    rawMetadata: 'filename w7wucG5n',
    concat: null,
    declaredDigest: null,
    createdAtMs: 1_750_000_000_000,
    expiresAtMs: null,
    partSize: 8_388_608,
    multipartId: 'multipart',
    state: 'open',
    goneAtMs: null,
  },
  infoEtag: '"etag"',
  partCount: 7,
  tail: '58720256-100-abc',
  deadTails: ['50331648-5-def'],
  offset: 58_720_356,
};

describe('redis part-list cache', { timeout: 30_000 }, () => {
  let server: RedisServer;
  let fleet: LockerFleet;

  beforeAll(async () => {
    server = await startRedis();
    fleet = createFleet(server.url, { ttlMs: 1_000, distrustMs: 0 });
  });
  afterAll(async () => {
    await fleet?.close();
    await server?.stop();
  });

  async function setUp(id: string) {
    const { locker, connection } = await fleet.add();
    const cache = createRedisPartListCache({ redis: connection.commands, prefix: fleet.prefix });
    const lock = locker.newLock(id);
    await lock.lock(never, ignore);
    return { cache, lock, locker, connection };
  }

  test('keeps an entry under the lock, for others to read, until it is dropped', async () => {
    const { cache, lock } = await setUp('kept');
    expect(await cache.get('kept')).toBeUndefined();
    expect(await cache.setIfLockHeld('kept', entry, lock)).toBe(true);
    const other = await setUp('other');
    expect(await other.cache.get('kept')).toEqual(entry);
    const ttlMs = await server.admin.pttl(`${fleet.prefix}:{kept}:parts`);
    expect(ttlMs).toBeGreaterThan(3_600_000);
    expect(ttlMs).toBeLessThan(86_400_000);
    await cache.drop('kept');
    expect(await other.cache.get('kept')).toBeUndefined();
    await lock.unlock();
  });

  test('a holder that was followed by another writes nothing, and learns of it', async () => {
    const { cache, lock } = await setUp('followed');
    await server.admin.set(fleet.lockKey('followed'), 'somebody.else', 'PX', 60_000);
    expect(await cache.setIfLockHeld('followed', entry, lock)).toBe(false);
    expect(lock.lost.aborted).toBe(true);
    expect(await cache.get('followed')).toBeUndefined();
    await lock.unlock();
    expect(await server.admin.get(fleet.lockKey('followed'))).toBe('somebody.else');
  });

  test('a wiped Redis keeps nothing for a holder it does not know', async () => {
    const { cache, lock } = await setUp('wiped');
    await server.admin.flushall();
    expect(await cache.setIfLockHeld('wiped', entry, lock)).toBe(false);
    expect(lock.lost.reason).toMatchObject({ code: 'lock_lost' });
    await lock.unlock();
  });

  test('a lock that was given back writes nothing', async () => {
    const { cache, lock } = await setUp('back');
    await lock.unlock();
    expect(await cache.setIfLockHeld('back', entry, lock)).toBe(false);
    expect(await cache.get('back')).toBeUndefined();
  });

  test('entries that cannot be read are misses', async () => {
    const { cache, lock } = await setUp('odd');
    for (const text of ['', 'not JSON', 'null', '[]', '{"version":2}']) {
      await server.admin.set(`${fleet.prefix}:{odd}:parts`, text);
      expect(await cache.get('odd')).toBeUndefined();
    }
    await lock.unlock();
  });

  test('without Redis reading is a miss, writing and dropping are errors', async () => {
    const { cache, lock, locker, connection } = await setUp('down');
    await connection.close();
    expect(await cache.get('down')).toBeUndefined();
    const unavailable = { code: 'store_unavailable' };
    await expect(cache.setIfLockHeld('down', entry, lock)).rejects.toMatchObject(unavailable);
    await expect(cache.drop('down')).rejects.toMatchObject(unavailable);
    await locker.close();
  });

  test('a lock of another kind cannot be compared', async () => {
    const { cache, lock } = await setUp('kind');
    await expect(cache.setIfLockHeld('kind', entry, freeLock())).rejects.toThrow(TypeError);
    await lock.unlock();
  });
});
