import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Clock } from '../../stores/clock.ts';
import { StoreError } from '../../stores/errors.ts';
import { createRedisLocker } from '../../stores/locker/redis.ts';
import type { RedisLockEvent } from '../../stores/locker/redis-lock-table.ts';
import type { RedisCommands, RedisSubscriber } from '../../stores/redis/types.ts';

const TTL_MS = 6_000;
const never = new AbortController().signal;
const ignore = (): void => {};

/** Both clocks and all timers, moved by the test. */
function createTime() {
  const at = { wallMs: 1_000_000, monotonicMs: 500 };
  const timers = new Map<symbol, { atMs: number; callback: () => void }>();
  const clock: Clock = {
    now: () => at.wallMs,
    setTimer(callback, delayMs) {
      const key = Symbol();
      timers.set(key, { atMs: at.monotonicMs + delayMs, callback });
      return () => timers.delete(key);
    },
  };
  return {
    clock,
    monotonicMs: () => at.monotonicMs,
    /** Time passes without any timer running: a blocked event loop, a stopped process. */
    stall(ms: number) {
      at.wallMs += ms;
      at.monotonicMs += ms;
    },
    /** Only the wall clock moves: a suspended virtual machine. */
    suspend(ms: number) {
      at.wallMs += ms;
    },
    async pass(ms: number) {
      for (let step = 0; step < ms; step += 50) {
        at.wallMs += 50;
        at.monotonicMs += 50;
        for (const [key, timer] of [...timers]) {
          if (timer.atMs <= at.monotonicMs && timers.delete(key)) timer.callback();
        }
        await nextTurn();
      }
    },
    pendingTimers: () => timers.size,
  };
}

/** A Redis with one answer per script, which the test sets; it does not understand Lua. */
function createRedis() {
  const calls: string[] = [];
  const answers: Record<string, () => Promise<unknown>> = {
    acquire: async () => [1, 0],
    renew: async () => 1,
    release: async () => 1,
  };
  const redis: RedisCommands = {
    isCluster: false,
    send: async () => null,
    run(script) {
      calls.push(script.name);
      return answers[script.name]?.() ?? Promise.resolve(null);
    },
  };
  const subscriber: RedisSubscriber = { subscribe: () => ignore };
  return { redis, subscriber, calls, answers };
}

function setUp() {
  const time = createTime();
  const fake = createRedis();
  const events: RedisLockEvent[] = [];
  const locker = createRedisLocker({
    redis: fake.redis,
    subscriber: fake.subscriber,
    clock: time.clock,
    monotonicMs: time.monotonicMs,
    ttlMs: TTL_MS,
    timeoutMs: 8_000,
    onEvent: (event) => events.push(event),
  });
  return { time, locker, events, ...fake };
}

const down = async (): Promise<never> => {
  throw new StoreError('store_unavailable', 'down');
};

describe('a lease in Redis', () => {
  test('is renewed at a third of its time to live, until it is given back', async () => {
    const { time, locker, calls } = setUp();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    await time.pass(1_900);
    expect(calls).toEqual(['acquire']);
    await time.pass(100);
    expect(calls).toEqual(['acquire', 'renew']);
    await time.pass(2 * TTL_MS);
    expect(calls.filter((name) => name === 'renew')).toHaveLength(7);
    expect(lock.lost.aborted).toBe(false);
    await lock.unlock();
    expect(calls.at(-1)).toBe('release');
    expect(time.pendingTimers()).toBe(0);
  });

  test('ends 0.8 of its time to live after the last confirmed renewal was sent', async () => {
    const { time, locker, answers, events } = setUp();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    const { lost } = lock; // a signal that was kept: told by a timer
    await time.pass(2_000); // renewed
    answers.renew = down;
    await time.pass(4_750);
    expect(lost.aborted).toBe(false);
    await time.pass(100);
    expect(lost.aborted).toBe(true);
    expect(lost.reason).toMatchObject({ code: 'lock_lost', retryable: true });
    expect(events).toMatchObject([{ event: 'lock_lost', uploadId: 'upload' }]);
    expect(time.pendingTimers()).toBe(0);
  });

  test('tries again soon when a renewal fails, and lives on when one gets through', async () => {
    const { time, locker, answers } = setUp();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    answers.renew = down;
    await time.pass(4_000);
    answers.renew = async () => 1;
    await time.pass(3_000);
    expect(lock.lost.aborted).toBe(false);
    await lock.unlock();
  });

  test('a renewal that is confirmed too late confirms nothing', async () => {
    const { time, locker, answers } = setUp();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    let answer: (reply: number) => void = ignore;
    answers.renew = () => new Promise((resolve) => (answer = resolve));
    await time.pass(2_000);
    time.stall(4_000); // the answer lies in the socket of a stopped process
    answer(1);
    await nextTurn();
    expect(lock.lost.aborted).toBe(true);
    answers.renew = async () => 1;
    await time.pass(TTL_MS);
    expect(lock.lost.aborted).toBe(true); // final, whatever Redis says later
    expect(time.pendingTimers()).toBe(0);
  });

  test('whoever asks learns at once of a stall or a suspended machine, before any timer runs', async () => {
    for (const sleep of ['stall', 'suspend'] as const) {
      const { time, locker } = setUp();
      const lock = locker.newLock('upload');
      await lock.lock(never, ignore);
      time[sleep](4_700);
      expect(lock.lost.aborted, sleep).toBe(false);
      time[sleep](100);
      expect(lock.lost.aborted, sleep).toBe(true);
      await lock.unlock();
      expect(time.pendingTimers()).toBe(0);
    }
  });

  test('an acquisition that is confirmed too late is asked for again', async () => {
    const { time, locker, answers, calls } = setUp();
    answers.acquire = async () => {
      if (calls.length === 1) time.stall(5_000);
      return [1, 0];
    };
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    expect(calls).toEqual(['acquire', 'acquire']);
    expect(lock.lost.aborted).toBe(false);
    await lock.unlock();
  });

  test('a lock that was granted after its request gave up is given back', async () => {
    const { locker, answers, calls, time } = setUp();
    let answer: (reply: unknown) => void = ignore;
    answers.acquire = () => new Promise((resolve) => (answer = resolve));
    const controller = new AbortController();
    const lock = locker.newLock('upload');
    const outcome = lock.lock(controller.signal, ignore).catch((reason: unknown) => reason);
    controller.abort('gone');
    expect(await outcome).toBe('gone');
    expect(calls).toEqual(['acquire']); // what is sent now might overtake it
    answer([1, 0]);
    await nextTurn();
    expect(calls).toEqual(['acquire', 'release']);
    expect(time.pendingTimers()).toBe(0);
  });

  test('a failed acquisition may have been carried out: it is taken back', async () => {
    const { locker, answers, calls, time } = setUp();
    answers.acquire = down;
    await expect(locker.newLock('upload').lock(never, ignore)).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    expect(calls).toEqual(['acquire', 'release']);
    expect(time.pendingTimers()).toBe(0);
  });

  test('requests of one process wait here: Redis hears of the first one only', async () => {
    const { locker, answers, calls } = setUp();
    let answer: (reply: unknown) => void = ignore;
    answers.acquire = () => new Promise((resolve) => (answer = resolve));
    const first = locker.newLock('upload');
    const held = first.lock(never, ignore);
    const second = locker.newLock('upload').lock(never, ignore);
    const third = locker.newLock('upload').lock(never, ignore);
    await nextTurn();
    expect(calls).toEqual(['acquire']);
    answer([1, 0]);
    await held;
    await first.unlock();
    expect(calls).toEqual(['acquire', 'release', 'acquire']);
    await Promise.all([locker.close(), answer([1, 0])]);
    await expect(second).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(third).rejects.toMatchObject({ code: 'store_unavailable' });
  });

  test('a renewal passes on that somebody waits, though the message got lost', async () => {
    const { time, locker, answers } = setUp();
    const lock = locker.newLock('upload');
    let asked = 0;
    await lock.lock(never, () => asked++);
    answers.renew = async () => 2;
    await time.pass(2_000);
    expect(asked).toBe(1);
    await time.pass(4_000);
    expect(asked).toBe(1);
    await lock.unlock();
  });

  test('giving back without Redis is no error, and is logged', async () => {
    const { locker, answers, events, time } = setUp();
    const lock = locker.newLock('upload');
    await lock.lock(never, ignore);
    answers.release = down;
    await lock.unlock();
    expect(events).toMatchObject([{ event: 'lock_release_failed', uploadId: 'upload' }]);
    expect(time.pendingTimers()).toBe(0);
  });
});
