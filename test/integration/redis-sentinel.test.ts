import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRedisCatalog } from '../../stores/catalog/redis.ts';
import { newUploadRecord } from '../../stores/catalog/types.ts';
import type { RedisUploadLock } from '../../stores/locker/redis-lock.ts';
import { makeCertificate } from '../support/certificate.ts';
import { until } from '../support/redis.ts';
import { createFleet, type LockerFleet } from '../support/redis-lockers.ts';
import { type RedisSentinels, startRedisSentinels } from '../support/redis-sentinel.ts';

const TTL_MS = 1_500;
const never = new AbortController().signal;
const ignore = (): void => {};

test('rediss+sentinel:// with passwords', { timeout: 60_000 }, async () => {
  const certificate = await makeCertificate();
  const sentinels = await startRedisSentinels({
    password: 'hunter2',
    sentinelPassword: 'swordfish',
    tls: certificate,
  });
  const url = `${sentinels.url}?ca=${certificate.certFile}&sentinelPassword=swordfish`;
  const fleet = createFleet(url, { distrustMs: 0 });
  try {
    const { locker: one } = await fleet.add();
    const { locker: two } = await fleet.add();
    const lock = one.newLock('upload');
    await lock.lock(never, () => void lock.unlock());
    expect(await sentinels.master.admin.get(fleet.lockKey('upload'))).toBe(lock.token);
    const next = two.newLock('upload');
    await next.lock(never, ignore);
    await next.unlock();
  } finally {
    await fleet.close();
    await sentinels.stop();
    await certificate.remove();
  }
});

describe('redis+sentinel://', { timeout: 60_000 }, () => {
  let sentinels: RedisSentinels;
  let fleet: LockerFleet;

  beforeAll(async () => {
    sentinels = await startRedisSentinels();
    fleet = createFleet(sentinels.url, { ttlMs: TTL_MS });
  }, 60_000);
  afterAll(async () => {
    await fleet?.close();
    await sentinels?.stop();
  });

  test('locks and catalog follow the master; nobody holds a lock twice over a failover', async () => {
    const { locker: one, connection } = await fleet.add();
    const { locker: two } = await fleet.add();
    const catalog = createRedisCatalog({ redis: connection.commands, prefix: fleet.prefix });
    await catalog.create(newUploadRecord({ id: 'upload', size: 1, rawMetadata: null, createdAtMs: 1 }));
    expect(await sentinels.master.admin.wait(1, 5_000)).toBe(1);

    // The last lock before the failover does not reach the replica: as asynchronous replication may have it.
    const first = one.newLock('upload');
    await first.lock(never, ignore);
    const lostAt = new Promise<number>((resolve) => {
      first.lost.addEventListener('abort', () => resolve(performance.now()));
    });
    await sentinels.master.kill();
    await until(async () => (await sentinels.masterPort()) === sentinels.replica.port, 30_000);
    await sentinels.replica.admin.del(fleet.lockKey('upload'));

    await connection.whenReady(20_000);
    const second = await lockPatiently(() => two.newLock('upload'));
    expect(await lostAt).toBeLessThan(performance.now());
    expect(await sentinels.replica.admin.get(fleet.lockKey('upload'))).toBe(second.token);
    expect((await catalog.get('upload'))?.id).toBe('upload');

    // Requests to release come through the new master, too.
    await second.unlock();
    const third = two.newLock('upload');
    const asked = Promise.withResolvers<void>();
    await third.lock(never, () => void third.unlock().then(asked.resolve));
    const fourth = one.newLock('upload');
    await fourth.lock(never, ignore);
    await asked.promise;
    await fourth.unlock();
    await first.unlock();
  });
});

/** Tries again while the connection is still on its way to the new master. */
async function lockPatiently(newLock: () => RedisUploadLock): Promise<RedisUploadLock> {
  for (let attempt = 0; ; attempt++) {
    const lock = newLock();
    try {
      await lock.lock(never, ignore);
      return lock;
    } catch (error) {
      expect(error).toMatchObject({ code: 'store_unavailable' });
      if (attempt === 100) throw error;
      await sleep(100);
    }
  }
}
