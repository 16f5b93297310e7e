import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type JobQueue, TerminalJobError, type WorkOptions } from '../../stores/queue/types.ts';
import { type JobQueueHarness, jobQueueContract } from '../contracts/job-queue.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { openTestQueue } from '../support/test-queues.ts';

let redis: RedisServer;
let cluster: RedisCluster;

beforeAll(async () => {
  [redis, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
});

afterAll(async () => {
  await redis?.stop();
  await cluster?.stop();
});

async function createHarness(url: string): Promise<JobQueueHarness> {
  const where = `test-${randomBytes(6).toString('hex')} ${url}`;
  const opened: JobQueue[] = [];
  return {
    childArguments: ['bullmq', where],
    async openQueue() {
      const queue = await openTestQueue('bullmq', where);
      opened.push(queue);
      return queue;
    },
    async teardown() {
      await Promise.all(opened.map((queue) => queue.close()));
    },
  };
}

jobQueueContract('bullmq', () => createHarness(redis.url), { isShared: true });
jobQueueContract('bullmq in a cluster', () => createHarness(cluster.url), { isShared: true });

describe('jobs in Redis', () => {
  const options: WorkOptions = { concurrency: 2, maxAttempts: 3, backoffMs: () => 10, leaseMs: 600 };

  /** Redis of the test's own, and a queue on it. */
  async function withOwnRedis(task: (server: RedisServer, queue: JobQueue) => Promise<void>): Promise<void> {
    const server = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    const harness = await createHarness(server.url);
    try {
      await task(server, await harness.openQueue());
    } finally {
      await harness.teardown();
      await server.stop();
    }
  }

  test('while Redis is away nothing can be added, and nobody waits long to hear it', async () => {
    await withOwnRedis(async (server, queue) => {
      await queue.add({ id: 'before', kind: 'test' });
      await server.kill();
      const refused = { code: 'store_unavailable' };
      for (const id of ['before', 'meanwhile']) {
        await expect(queue.add({ id, kind: 'test' })).rejects.toMatchObject(refused);
      }
      await expect(queue.remove('before')).rejects.toMatchObject(refused);
      await expect(queue.counts('test')).rejects.toMatchObject(refused);
      await expect(queue.check()).rejects.toMatchObject(refused);
      const isBack = (): Promise<boolean> =>
        queue.check().then(
          () => true,
          () => false,
        );
      await server.restart();
      await until(isBack);
      server.pause(); // connections stay open, nothing answers
      await expect(queue.add({ id: 'meanwhile', kind: 'test' })).rejects.toMatchObject(refused);
      server.resume();
      await until(isBack);
      expect(await queue.add({ id: 'before', kind: 'test' })).toBe(false);
    });
  });

  test('workers wait out a Redis that is killed, and lose no job', async () => {
    await withOwnRedis(async (server, queue) => {
      const done = new Set<string>();
      queue.work('test', options, async ({ id }) => {
        await sleep(10);
        done.add(id);
      });
      const ids = Array.from({ length: 60 }, (_, index) => `job:${index}`);
      await Promise.all(ids.map((id) => queue.add({ id, kind: 'test' })));
      await until(() => done.size > 10);
      await server.kill();
      await sleep(200);
      await server.restart();
      await until(() => done.size === ids.length, 15_000);
      await until(async () => (await queue.counts('test').catch(() => undefined))?.active === 0, 15_000);
    });
  });

  test('a worker can begin before Redis does, and be closed while Redis is away', async () => {
    await withOwnRedis(async (server, queue) => {
      await queue.add({ id: 'waits', kind: 'late' });
      await server.kill();
      const done: string[] = [];
      const worker = queue.work('late', options, async ({ id }, signal) => {
        done.push(id);
        if (id === 'held') await sleep(60_000, undefined, { signal });
      });
      await sleep(100);
      await server.restart();
      await until(() => done.length === 1, 15_000);
      await until(() => queue.add({ id: 'held', kind: 'late' }).catch(() => false));
      await until(() => done.length === 2);
      await server.kill();
      await worker.close();
      const second = queue.work('late', options, async () => {});
      await second.close();
      await queue.close();
    });
  });

  test('jobs that are done leave nothing behind, and those that were given up end some day', async () => {
    await withOwnRedis(async ({ admin }, queue) => {
      const done = new Set<string>();
      queue.work('test', options, async ({ id }) => {
        done.add(id);
        if (id === 'hopeless') throw new TerminalJobError('no');
      });
      for (let index = 0; index < 300; index++) await queue.add({ id: `job:${index}`, kind: 'test' });
      await queue.add({ id: 'hopeless', kind: 'test' });
      await until(async () => done.size === 301 && (await queue.counts('test')).active === 0);
      const keys = (await admin.keys('*')).filter((key) => !key.includes(':hopeless'));
      const names = keys.map((key) => key.replace(/^{.*}:/, ''));
      expect(names.filter((name) => /job/.test(name))).toEqual([]);
      expect(names.length).toBeLessThan(12);
      expect(keys.every((key) => /^{test-\w+-jobs}:/.test(key))).toBe(true);
      const [hopeless = ''] = (await admin.keys('*')).filter((key) => key.endsWith('hopeless'));
      const kept = JSON.parse((await admin.hget(hopeless, 'opts')) ?? '{}') as Record<string, unknown>;
      expect(kept.removeOnFail).toEqual({ age: 7 * 24 * 3600, count: 10_000 });
      const events = keys.find((key) => key.endsWith(':events')) ?? '';
      expect(await admin.xlen(events)).toBeLessThan(400);
    });
  });

  test('a job that was added while it ran runs again, though its worker died right after it ended', async () => {
    await withOwnRedis(async ({ admin }, queue) => {
      const runs: string[] = [];
      queue.work('test', { ...options, leaseMs: 500 }, async ({ id, data }) => {
        runs.push(`${id} ${data.round}`);
      });
      await queue.add({ id: 'first', kind: 'test', data: { round: 1 } });
      await until(() => runs.length === 1);
      const [kinds = ''] = (await admin.keys('*')).filter((key) => key.endsWith(':kinds'));
      const again = kinds.replace(/kinds$/, 'test:again');
      await admin.hset(again, '/first', JSON.stringify({ data: { round: 2 }, atMs: 0 }));
      await until(() => runs.length === 2, 15_000);
      expect(runs).toEqual(['first 1', 'first 2']);
      await until(async () => (await admin.hlen(again)) === 0);
    });
  });
});
