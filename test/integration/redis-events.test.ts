import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRedisEventLog } from '../../stores/events/redis.ts';
import type { EventLog, UploadEvent } from '../../stores/events/types.ts';
import { connectRedis } from '../../stores/redis/connect.ts';
import type { RedisConnection } from '../../stores/redis/types.ts';
import { eventLogContract } from '../contracts/event-log.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';

let redis: RedisServer;
let cluster: RedisCluster;

beforeAll(async () => {
  [redis, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
});

afterAll(async () => {
  await redis?.stop();
  await cluster?.stop();
});

function createHarness(url: () => string) {
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  const opened: [EventLog, RedisConnection][] = [];
  return {
    prefix,
    async openLog() {
      const connection = connectRedis(url());
      await connection.whenReady(10_000);
      const { commands, subscriber } = connection;
      const log = createRedisEventLog({ redis: commands, subscriber, prefix });
      opened.push([log, connection]);
      return log;
    },
    async teardown() {
      for (const [log, connection] of opened) {
        await log.close();
        await connection.close();
      }
    },
  };
}

eventLogContract('redis', async () => createHarness(() => redis.url), { isShared: true });
eventLogContract('redis cluster', async () => createHarness(() => cluster.url), { isShared: true });

describe('event log in Redis', () => {
  test('whatever happens while the connection is away is told when it is back, in order', async () => {
    const harness = createHarness(() => redis.url);
    try {
      const log = await harness.openLog();
      const other = await harness.openLog();
      const heard: string[] = [];
      await log.subscribe({}, undefined, ({ uploadId }) => void heard.push(uploadId));
      const published: string[] = [];
      for (let number = 0; number < 400; number++) {
        const uploadId = `upload${number}`;
        await other.publish({ type: 'created', uploadId, atMs: number, data: {} });
        published.push(uploadId);
        if (number % 100 === 50) await redis.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      }
      await until(() => heard.length >= published.length);
      expect(heard).toEqual(published);
    } finally {
      await harness.teardown();
    }
  });

  test('events that Redis has lost are a gap, which listeners are told of', async () => {
    const own = await startRedis();
    const harness = createHarness(() => own.url);
    try {
      const log = await harness.openLog();
      const heard: UploadEvent[] = [];
      let gaps = 0;
      const onGap = (): void => {
        gaps += 1;
      };
      await log.subscribe({}, undefined, (event) => void heard.push(event), onGap);
      await log.publish({ type: 'created', uploadId: 'a', atMs: 1, data: {} });
      await until(() => heard.length === 1);
      await own.kill();
      await expect(log.publish({ type: 'ready', uploadId: 'a', atMs: 1, data: {} })).rejects.toMatchObject({
        code: 'store_unavailable',
      });
      await own.restart();
      await until(() => gaps === 1, 15_000);
      await until(() => log.publish({ type: 'ready', uploadId: 'b', atMs: 1, data: {} }).then(() => true));
      await until(() => heard.length === 2);
      expect(heard[1]).toMatchObject({ type: 'ready', uploadId: 'b' });
      const again = await log.subscribe({}, heard[0]?.id, () => {});
      expect(again).toMatchObject({ isReset: true, lastId: heard[1]?.id });
    } finally {
      await harness.teardown();
      await own.stop();
    }
  });

  test('nobody can listen while Redis is away, and everybody can again afterwards', async () => {
    const own = await startRedis();
    const harness = createHarness(() => own.url);
    try {
      const log = await harness.openLog();
      await own.kill();
      const attempts = [1, 2].map(() => log.subscribe({}, undefined, () => {}));
      for (const attempt of attempts)
        await expect(attempt).rejects.toMatchObject({ code: 'store_unavailable' });
      await own.restart();
      const heard: UploadEvent[] = [];
      await until(() =>
        log
          .subscribe({}, undefined, (event) => void heard.push(event))
          .then(
            () => true,
            () => false,
          ),
      );
      await log.publish({ type: 'created', uploadId: 'a', atMs: 1, data: {} });
      await until(() => heard.length === 1);
    } finally {
      await harness.teardown();
      await own.stop();
    }
  });

  test('events are kept for a day', async () => {
    const harness = createHarness(() => redis.url);
    try {
      const log = await harness.openLog();
      const key = `{${harness.prefix}-events}:log`;
      const dayMs = 24 * 3600_000;
      const event = JSON.stringify({ type: 'created', uploadId: 'a', atMs: 1, data: {} });
      await redis.admin.xadd(key, `${Date.now() - dayMs - 60_000}-0`, 'event', event);
      await redis.admin.xadd(key, `${Date.now() - dayMs + 60_000}-0`, 'event', event);
      await log.publish({ type: 'ready', uploadId: 'b', atMs: 1, data: {} });
      expect(await redis.admin.xlen(key)).toBe(2);
    } finally {
      await harness.teardown();
    }
  });

  test('a process in which nobody listens is subscribed to nothing', async () => {
    const harness = createHarness(() => redis.url);
    try {
      const log = await harness.openLog();
      const channel = `{${harness.prefix}-events}:told`;
      const subscribers = async () => Number(((await redis.admin.pubsub('NUMSUB', channel)) as unknown[])[1]);
      const first = await log.subscribe({}, undefined, () => {});
      const second = await log.subscribe({ uploadId: 'a' }, undefined, () => {});
      expect(await subscribers()).toBe(1);
      first.close();
      second.close();
      second.close();
      await until(async () => (await subscribers()) === 0);
    } finally {
      await harness.teardown();
    }
  });
});
