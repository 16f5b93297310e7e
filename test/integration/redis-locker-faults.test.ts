import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRedisLocker } from '../../stores/locker/redis.ts';
import { COMMAND_TIMEOUT_MS } from '../../stores/redis/clients.ts';
import { connectRedis } from '../../stores/redis/connect.ts';
import { endProcess, type RedisServer, startRedis, until } from '../support/redis.ts';
import { createFleet, type LockerFleet } from '../support/redis-lockers.ts';

const TTL_MS = 1_200;
/** So long that nothing in a test waits for it: what comes sooner has not come by its end. */
const LONG_TTL_MS = 60_000;
const SOON_MS = 10_000;
const never = new AbortController().signal;
const ignore = (): void => {};

let server: RedisServer;
let fleet: LockerFleet;
const holders: ChildProcess[] = [];

beforeEach(async () => {
  server = await startRedis({ hasRunForLong: true });
  fleet = createFleet(server.url, { ttlMs: TTL_MS });
});

afterEach(async () => {
  server.resume();
  await fleet.close();
  for (const holder of holders.splice(0)) await endProcess(holder, 'SIGKILL');
  await server.stop();
});

/** Another process that holds the lock. */
async function startHolder(id: string, ttlMs = TTL_MS) {
  const script = fileURLToPath(new URL('../support/redis-lock-holder.ts', import.meta.url));
  const holder = spawn(process.execPath, [script, server.url, fleet.prefix, id, String(ttlMs)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  holders.push(holder);
  const words: string[] = [];
  createInterface({ input: holder.stdout }).on('line', (line) => words.push(line));
  await until(() => words.includes('held'));
  return { holder, words };
}

describe('redis locker: holders that die or stop', { timeout: 30_000 }, () => {
  test('another process is asked to release, and hands the lock over', async () => {
    const { locker } = await fleet.add({ ttlMs: LONG_TTL_MS, timeoutMs: SOON_MS });
    const { holder, words } = await startHolder('upload', LONG_TTL_MS);
    const lock = locker.newLock('upload');
    const held = lock.lock(never, ignore);
    await until(() => words.includes('asked'));
    holder.kill('SIGTERM');
    await held;
    await lock.unlock();
  });

  test('the request to release comes at once, not with the next renewal', async () => {
    const options = { ttlMs: LONG_TTL_MS, timeoutMs: SOON_MS };
    const { locker: one } = await fleet.add(options);
    const { locker: two } = await fleet.add(options);
    const holder = one.newLock('upload');
    await holder.lock(never, () => void holder.unlock());
    const newcomer = two.newLock('upload');
    await newcomer.lock(never, ignore);
    await newcomer.unlock();
  });

  test('the lock of a killed process is free when its time to live is over, not before', async () => {
    const { locker } = await fleet.add();
    const { holder } = await startHolder('upload');
    await endProcess(holder, 'SIGKILL');
    const remainingMs = await server.admin.pttl(fleet.lockKey('upload'));
    const startedAt = performance.now();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    const waitedMs = performance.now() - startedAt;
    expect(waitedMs).toBeGreaterThan(remainingMs - 50);
    expect(waitedMs).toBeLessThan(remainingMs + 3_000);
    await lock.unlock();
  });

  test('a process stopped past its time to live knows at once when it wakes up', async () => {
    const { locker } = await fleet.add();
    const { holder, words } = await startHolder('upload');
    holder.kill('SIGSTOP');
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    expect(words).not.toContain('lost');
    holder.kill('SIGCONT');
    await until(() => words.includes('lost'));
    expect(lock.lost.aborted).toBe(false);
    expect(await server.admin.get(fleet.lockKey('upload'))).toBe(lock.token);
    await lock.unlock();
  });

  test('a blocked event loop: the clock is looked at before anything else', async () => {
    const { locker } = await fleet.add();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    const until = performance.now() + TTL_MS;
    while (performance.now() < until); // nothing else runs
    expect(lock.lost.aborted).toBe(true);
    expect(lock.lost.reason).toMatchObject({ code: 'lock_lost' });
    await lock.unlock();
  });

  test('a waiter that died is passed over', async () => {
    const { locker: one } = await fleet.add();
    const { locker: dead, connection } = await fleet.add();
    const { locker: two } = await fleet.add();
    const holder = one.newLock('upload');
    await holder.lock(never, ignore);
    dead.newLock('upload').lock(never, ignore).catch(ignore);
    await until(async () => (await server.admin.zcard(`${fleet.prefix}:{upload}:waiters`)) === 1);
    await connection.close();
    const listening = `${fleet.prefix}:locker:*`;
    await until(async () => (await server.admin.pubsub('CHANNELS', listening)).length === 2);
    const next = two.newLock('upload');
    const held = next.lock(never, ignore);
    await until(async () => (await server.admin.zcard(`${fleet.prefix}:{upload}:waiters`)) === 2);
    await holder.unlock();
    // In the same moment, and not when the dead one has had its time.
    expect(await server.admin.get(fleet.lockKey('upload'))).toBe(next.token);
    await held;
    await next.unlock();
  });

  test('a lock is kept for many times its time to live, and nothing is left when it is given back', async () => {
    const { locker } = await fleet.add();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    await sleep(3 * TTL_MS);
    expect(lock.lost.aborted).toBe(false);
    await lock.unlock();
    expect(await server.admin.keys(`${fleet.prefix}*`)).toEqual([]);
  });

  test('processes take turns: nobody waits for more than a round', async () => {
    const lockers = await Promise.all([fleet.add(), fleet.add(), fleet.add()]);
    const warm = lockers[0].locker.newLock('upload');
    await warm.lock(never, ignore);
    await warm.unlock();
    const order: number[] = [];
    await Promise.all(
      lockers.map(async ({ locker }, index) => {
        while (order.length < 60) {
          const lock = locker.newLock('upload');
          await lock.lock(never, ignore);
          order.push(index);
          await sleep(5);
          await lock.unlock();
        }
      }),
    );
    const settled = order.slice(5, -5);
    for (let i = 0; i + 5 < settled.length; i++) {
      expect(new Set(settled.slice(i, i + 5)).size, `${settled}`).toBe(3);
    }
  });

  test('close gives held locks back and ends the wait of others', async () => {
    const options = { ttlMs: LONG_TTL_MS, timeoutMs: SOON_MS };
    const { locker, connection } = await fleet.add(options);
    const { locker: other } = await fleet.add(options);
    const held = locker.newLock('upload');
    await held.lock(never, ignore);
    const waiting = [locker.newLock('upload'), locker.newLock('upload')].map((lock) =>
      expect(lock.lock(never, ignore)).rejects.toMatchObject({ code: 'store_unavailable' }),
    );
    await locker.close();
    await connection.close();
    await Promise.all(waiting);
    expect(held.lost.aborted).toBe(true);
    const next = other.newLock('upload');
    await next.lock(never, ignore);
    await next.unlock();
    expect(await server.admin.keys(`${fleet.prefix}*`)).toEqual([]);
  });
});

describe('redis locker: Redis that is away', { timeout: 30_000 }, () => {
  test('a free lock costs one round trip to take and one to give back', async () => {
    const { locker } = await fleet.add();
    const warm = locker.newLock('upload');
    await warm.lock(never, ignore);
    await warm.unlock();
    const before = await commandCount();
    for (let round = 0; round < 50; round++) {
      const lock = locker.newLock('upload');
      await lock.lock(never, ignore);
      await lock.unlock();
    }
    expect((await commandCount()) - before).toBe(100);
  });

  test('paused: the holder stops in time, newcomers fail within two seconds, then all goes on', async () => {
    const ttlMs = 3_000;
    const { locker, connection } = await fleet.add({ ttlMs });
    const held = locker.newLock('upload');
    await held.lock(never, ignore);
    const lostAt = lossOf(held.lost);
    server.pause();
    const pausedAt = performance.now();
    const startedAt = performance.now();
    await expect(locker.newLock('other').lock(never, ignore)).rejects.toMatchObject({
      code: 'store_unavailable',
      retryable: true,
    });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect((await lostAt) - pausedAt).toBeLessThan(ttlMs);
    expect(connection.isReady()).toBe(false);
    // Long enough that the sockets are given up.
    await sleep(4_500 - (performance.now() - pausedAt));
    await expect(locker.newLock('other').lock(never, ignore)).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    server.resume();
    await connection.whenReady(5_000);
    expect(connection.isReady()).toBe(true);
    const next = locker.newLock('upload');
    await next.lock(never, ignore);
    expect(held.lost.aborted).toBe(true); // a lost lock is lost for good
    await next.unlock();
    await held.unlock();
  });

  test('killed and started again: no restart of ours, waiters are served', async () => {
    const { locker: one, connection, events } = await fleet.add();
    const { locker: two } = await fleet.add();
    const held = one.newLock('upload');
    await held.lock(never, ignore);
    await server.kill();
    await until(() => held.lost.aborted);
    const startedAt = performance.now();
    await expect(one.newLock('upload').lock(never, ignore)).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    // It is known to be away by now: nobody waits for an answer.
    expect(performance.now() - startedAt).toBeLessThan(COMMAND_TIMEOUT_MS);
    await held.unlock();
    await sleep(500);
    await server.restart();
    await connection.whenReady(5_000);
    const first = one.newLock('upload');
    await first.lock(never, ignore);
    // Also the subscriptions are back: the request to release comes through.
    const second = two.newLock('upload');
    const asked = new Promise<void>((resolve) => {
      void first.unlock().then(() => second.lock(never, resolve));
    });
    await until(async () => (await server.admin.get(fleet.lockKey('upload'))) === second.token);
    const third = one.newLock('upload');
    const held3 = third.lock(never, ignore);
    await asked;
    await second.unlock();
    await held3;
    await third.unlock();
    expect(events.filter(({ event }) => event === 'redis_lost').length).toBeGreaterThan(0);
    // One line per connection and outage, not one for each of the attempts to connect.
    expect(events.filter(({ event }) => event === 'redis_error').length).toBeLessThanOrEqual(4);
  });

  test('a server that starts before its Redis', async () => {
    await server.kill();
    const connection = connectRedis(server.url);
    const locker = createRedisLocker({
      redis: connection.commands,
      subscriber: connection.subscriber,
      prefix: fleet.prefix,
      ttlMs: TTL_MS,
    });
    try {
      await expect(locker.newLock('upload').lock(never, ignore)).rejects.toMatchObject({
        code: 'store_unavailable',
      });
      await server.restart();
      await connection.whenReady(5_000);
      const lock = locker.newLock('upload');
      await lock.lock(never, ignore);
      await lock.unlock();
    } finally {
      await locker.close();
      await connection.close();
    }
  });
});

describe('redis locker: Redis that forgets or remembers too much', { timeout: 60_000 }, () => {
  test('wiped while held: no second holder before the first one knows', async () => {
    const { locker: one } = await fleet.add();
    const { locker: two } = await fleet.add();
    for (let round = 0; round < 4; round++) {
      const first = one.newLock('upload');
      await first.lock(never, ignore);
      const lostAt = lossOf(first.lost);
      await sleep(round * 137);
      const wipedAt = performance.now();
      await server.admin.flushall();
      const second = two.newLock('upload');
      await second.lock(never, ignore);
      const heldAt = performance.now();
      expect(first.lost.aborted).toBe(true);
      expect(await lostAt).toBeLessThan(heldAt);
      expect((await lostAt) - wipedAt).toBeLessThan(0.8 * TTL_MS); // by its next renewal
      await first.unlock(); // frees nothing
      expect(await server.admin.get(fleet.lockKey('upload'))).toBe(second.token);
      expect(second.lost.aborted).toBe(false);
      await second.unlock();
    }
  });

  test('restarted empty while held: no second holder before the first one knows', async () => {
    const { locker: one } = await fleet.add();
    const first = one.newLock('upload');
    await first.lock(never, ignore);
    const lostAt = lossOf(first.lost);
    await server.kill();
    await server.restart();
    const { locker: two } = await fleet.add();
    const second = two.newLock('upload');
    await second.lock(never, ignore);
    expect(await lostAt).toBeLessThan(performance.now());
    await second.unlock();
    await first.unlock();
  });

  test('restarted with its memory: the holder keeps its lock', async () => {
    const { locker } = await fleet.add({ ttlMs: 3_000 });
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    await server.admin.save();
    await server.kill();
    await server.restart();
    await sleep(3_000);
    expect(lock.lost.aborted).toBe(false);
    expect(await server.admin.get(fleet.lockKey('upload'))).toBe(lock.token);
    await lock.unlock();
  });

  test('restored from an old snapshot: what was lost stays lost, and nobody holds it twice', async () => {
    const ttlMs = 3_000;
    const { locker: one, connection } = await fleet.add({ ttlMs });
    const { locker: two } = await fleet.add({ ttlMs });
    const first = one.newLock('upload');
    await first.lock(never, ignore);
    await server.admin.save(); // says: first
    await server.admin.del(fleet.lockKey('upload'));
    await until(() => first.lost.aborted);
    const second = two.newLock('upload');
    await second.lock(never, ignore);
    const secondLostAt = lossOf(second.lost);
    await server.kill();
    await server.restart();
    await connection.whenReady(5_000);
    // Redis believes in the first holder again, who does not.
    expect(await server.admin.get(fleet.lockKey('upload'))).toBe(first.token);
    expect(first.lost.aborted).toBe(true);
    const third = one.newLock('upload');
    await third.lock(never, ignore);
    expect(await secondLostAt).toBeLessThan(performance.now());
    expect(first.lost.aborted).toBe(true);
    await Promise.all([first.unlock(), second.unlock()]);
    expect(await server.admin.get(fleet.lockKey('upload'))).toBe(third.token);
    await third.unlock();
  });
});

/** When a signal aborted. */
function lossOf(lost: AbortSignal): Promise<number> {
  return new Promise((resolve) => {
    lost.addEventListener('abort', () => resolve(performance.now()), { once: true });
  });
}

/** How often our scripts were called so far. */
async function commandCount(): Promise<number> {
  const stats = await server.admin.info('commandstats');
  return [...stats.matchAll(/cmdstat_(?:evalsha|eval|get|set):calls=(\d+)/g)]
    .filter(([line]) => line.includes('eval'))
    .reduce((sum, [, calls]) => sum + Number(calls), 0);
}
