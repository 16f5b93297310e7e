import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRedisCatalog } from '../../stores/catalog/redis.ts';
import { createRedisLocker } from '../../stores/locker/redis.ts';
import type { RedisUploadLock } from '../../stores/locker/redis-lock.ts';
import type { Locker } from '../../stores/locker/types.ts';
import { createTagFinder } from '../../stores/redis/cluster-layout.ts';
import { connectRedis } from '../../stores/redis/connect.ts';
import type { RedisConnection } from '../../stores/redis/types.ts';
import { lockerContract } from '../contracts/locker.ts';
import { uploadCatalogContract } from '../contracts/upload-catalog.ts';
import { makeCertificate } from '../support/certificate.ts';
import { type RedisServer, until } from '../support/redis.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { createFleet, type LockerFleet } from '../support/redis-lockers.ts';

const never = new AbortController().signal;
const ignore = (): void => {};
/** Of three nodes. */
const LAST_SLOT_OF_FIRST = 5460;

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
  const fleet = createFleet(`${secured.url}?ca=${certificate.certFile}`, { distrustMs: 0 });
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

  test('nobody holds a lock twice over a failover that loses it', async () => {
    const cluster = await startRedisCluster({ hasReplica: true });
    const [master, replica] = [cluster.nodes[0] as RedisServer, cluster.replica as RedisServer];
    const ttlMs = 3_000;
    const fleet = createFleet(cluster.url, { ttlMs });
    try {
      // The first one does not wait for a Cluster that was never used.
      const { locker: one } = await fleet.add({ distrustMs: 0 });
      const { locker: two } = await fleet.add();
      const id = await idOnFirstNode(cluster, fleet);
      const first = one.newLock(id);
      await first.lock(never, ignore);
      let isLost = false;
      first.lost.addEventListener('abort', () => {
        isLost = true;
      });
      expect(await master.admin.wait(1, 5_000)).toBe(1);

      await master.kill();
      await replica.admin.call('CLUSTER', 'FAILOVER', 'TAKEOVER');
      await until(async () => String(await replica.admin.cluster('INFO')).includes('cluster_state:ok'));
      // As if it had not reached the replica.
      expect(await replica.admin.del(fleet.lockKey(id))).toBe(1);
      const second = await lockPatiently(() => two.newLock(id));
      expect(isLost).toBe(true);
      expect(await replica.admin.get(fleet.lockKey(id))).toBe(second.token);
      await Promise.all([second.unlock(), first.unlock()]);
    } finally {
      await fleet.close();
      await cluster.stop();
    }
  });

  test('who does not know yet that slots were moved gets its lock all the same', async () => {
    const fleet = createFleet(cluster.url, { ttlMs: 30_000 });
    try {
      const { connection } = await fleet.add();
      // Of a slot on the last node; the lock is on the first.
      const elsewhere = createTagFinder()(16_383);
      const layout = { tagBeside: () => elsewhere, tags: () => [], onChange: () => () => {} };
      const { commands, subscriber } = connection;
      const locker = createRedisLocker({
        redis: { ...commands, cluster: layout },
        subscriber,
        prefix: fleet.prefix,
        ttlMs: 30_000,
      });
      const lock = locker.newLock(await idOnFirstNode(cluster, fleet));
      await lock.lock(never, ignore);
      await lock.unlock();
      await locker.close();
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

/** Of an upload whose lock lies on the first node. */
async function idOnFirstNode({ nodes }: RedisCluster, fleet: LockerFleet): Promise<string> {
  for (let index = 0; ; index++) {
    const slot = await nodes[0]?.admin.call('CLUSTER', 'KEYSLOT', fleet.lockKey(`upload-${index}`));
    if (Number(slot) <= LAST_SLOT_OF_FIRST) return `upload-${index}`;
  }
}

/** Takes a lock that its holder gives back when asked; tries again while the Cluster is not whole for everyone. */
async function lockPatiently(newLock: () => RedisUploadLock): Promise<RedisUploadLock> {
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
