import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRedisCatalog } from '../../stores/catalog/redis.ts';
import { createRedisLocker } from '../../stores/locker/redis.ts';
import type { Locker } from '../../stores/locker/types.ts';
import { connectRedis } from '../../stores/redis/connect.ts';
import type { RedisConnection } from '../../stores/redis/types.ts';
import { lockerContract } from '../contracts/locker.ts';
import { uploadCatalogContract } from '../contracts/upload-catalog.ts';
import { makeCertificate } from '../support/certificate.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { createFleet } from '../support/redis-lockers.ts';

const never = new AbortController().signal;
const ignore = (): void => {};

let cluster: RedisCluster;

beforeAll(async () => {
  cluster = await startRedisCluster();
}, 60_000);
afterAll(() => cluster?.stop());

async function makeConnection(connections: RedisConnection[]): Promise<RedisConnection> {
  const connection = connectRedis(cluster.url);
  connections.push(connection);
  await connection.whenReady(10_000);
  return connection;
}

lockerContract(
  'redis+cluster://',
  () => {
    const prefix = `test-${randomBytes(6).toString('hex')}`;
    const connections: RedisConnection[] = [];
    const lockers: Locker[] = [];
    return {
      async createLocker({ timeoutMs }) {
        const { commands: redis, subscriber } = await makeConnection(connections);
        const locker = createRedisLocker({ redis, subscriber, prefix, timeoutMs, ttlMs: 1_500 });
        lockers.push(locker);
        return locker;
      },
      async loseLock(id) {
        await connections[0]?.commands.send('DEL', `${prefix}:{${id}}:lock`);
      },
      async teardown() {
        await Promise.all(lockers.map((locker) => locker.close()));
        await Promise.all(connections.map((connection) => connection.close()));
      },
    };
  },
  { canBeLost: true, isFifo: true },
);

uploadCatalogContract(
  'redis+cluster://',
  () => {
    const prefix = `test-${randomBytes(6).toString('hex')}`;
    const connections: RedisConnection[] = [];
    return {
      async openCatalog() {
        const { commands: redis } = await makeConnection(connections);
        return createRedisCatalog({ redis, prefix });
      },
      async teardown() {
        await Promise.all(connections.map((connection) => connection.close()));
      },
    };
  },
  { isShared: true },
);

test('rediss+cluster:// with a password', { timeout: 60_000 }, async () => {
  const certificate = await makeCertificate();
  const secured = await startRedisCluster({ password: 'hunter2', tls: certificate });
  const fleet = createFleet(`${secured.url}?ca=${certificate.certFile}`);
  try {
    const { locker: one } = await fleet.add();
    const { locker: two } = await fleet.add();
    for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) {
      const lock = one.newLock(id);
      await lock.lock(never, () => void lock.unlock());
      const next = two.newLock(id);
      await next.lock(never, ignore);
      await next.unlock();
    }
  } finally {
    await fleet.close();
    await secured.stop();
    await certificate.remove();
  }
});

describe('redis+cluster://', { timeout: 60_000 }, () => {
  test('locks spread over the nodes', async () => {
    const fleet = createFleet(cluster.url, { ttlMs: 5_000 });
    try {
      const { locker } = await fleet.add();
      const locks = Array.from({ length: 30 }, (_, index) => locker.newLock(`upload-${index}`));
      await Promise.all(locks.map((lock) => lock.lock(never, ignore)));
      for (const { admin } of cluster.nodes) {
        expect((await admin.keys(`${fleet.prefix}:*:lock`)).length).toBeGreaterThan(0);
      }
      await Promise.all(locks.map((lock) => lock.unlock()));
    } finally {
      await fleet.close();
    }
  });

  test('all nodes killed and started again: no restart of ours, and messages come through', async () => {
    const fleet = createFleet(cluster.url, { ttlMs: 1_500 });
    try {
      const { locker: one, connection } = await fleet.add();
      const { locker: two, connection: otherConnection } = await fleet.add();
      const held = one.newLock('upload');
      await held.lock(never, ignore);
      await Promise.all(cluster.nodes.map((node) => node.kill()));
      const startedAt = performance.now();
      await expect(one.newLock('other').lock(never, ignore)).rejects.toMatchObject({
        code: 'store_unavailable',
      });
      expect(performance.now() - startedAt).toBeLessThan(2_500);
      await expect(held.unlock()).resolves.toBeUndefined();
      await Promise.all(cluster.nodes.map((node) => node.restart()));
      await cluster.isWhole();
      await Promise.all([connection.whenReady(20_000), otherConnection.whenReady(20_000)]);
      for (const [holder, newcomer] of [
        [one, two],
        [two, one],
      ] as const) {
        const first = await lockPatiently(() => holder.newLock('upload'));
        const wantedAt = performance.now();
        const second = newcomer.newLock('upload');
        await second.lock(never, ignore);
        expect(performance.now() - wantedAt).toBeLessThan(1_500);
        await Promise.all([first.unlock(), second.unlock()]);
      }
    } finally {
      await fleet.close();
    }
  });
});

/** Takes a lock that its holder gives back when asked; tries again while the Cluster is not whole for everyone. */
async function lockPatiently(newLock: () => ReturnType<Locker['newLock']>) {
  for (let attempt = 0; ; attempt++) {
    const lock = newLock();
    try {
      await lock.lock(never, () => void lock.unlock());
      return lock;
    } catch (error) {
      if (attempt === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
