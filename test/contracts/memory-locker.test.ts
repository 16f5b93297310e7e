import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import type { Clock } from '../../stores/clock.ts';
import { createMemoryLocker } from '../../stores/locker/memory.ts';
import type { Locker } from '../../stores/locker/types.ts';
import { lockerContract } from './locker.ts';

const never = new AbortController().signal;
const ignore = (): void => {};

lockerContract(
  'memory',
  () => {
    let locker: Locker | undefined;
    return {
      createLocker({ timeoutMs }) {
        locker ??= createMemoryLocker({ timeoutMs });
        return locker;
      },
      async teardown() {
        await locker?.close();
      },
    };
  },
  { canBeLost: false, isFifo: true },
);

/** Time that passes only when the test says so. */
function createManualClock(): Clock & { pass(ms: number): void; pending(): number } {
  let nowMs = 0;
  const timers = new Map<symbol, { atMs: number; callback: () => void }>();
  return {
    now: () => nowMs,
    setTimer(callback, delayMs) {
      const key = Symbol();
      timers.set(key, { atMs: nowMs + delayMs, callback });
      return () => timers.delete(key);
    },
    pass(ms) {
      nowMs += ms;
      for (const [key, timer] of [...timers]) {
        if (timer.atMs <= nowMs && timers.delete(key)) timer.callback();
      }
    },
    pending: () => timers.size,
  };
}

describe('memory locker', () => {
  test('waits exactly as long as configured, each waiter by its own time', async () => {
    const clock = createManualClock();
    const locker = createMemoryLocker({ timeoutMs: 8_000, clock });
    const holder = locker.newLock('upload');
    await holder.lock(never, ignore);
    expect(clock.pending()).toBe(0); // nobody waits: no timer
    const outcomes: string[] = [];
    const wait = (name: string) => {
      const lock = locker.newLock('upload');
      const settled = lock.lock(never, ignore).then(
        () => outcomes.push(`${name} held`),
        (error: { code: string }) => outcomes.push(`${name} ${error.code}`),
      );
      return { lock, settled };
    };
    const first = wait('first');
    clock.pass(7_999);
    const second = wait('second');
    await nextTurn();
    expect(outcomes).toEqual([]);
    clock.pass(1);
    await first.settled;
    expect(outcomes).toEqual(['first upload_locked']);
    await holder.unlock();
    await second.settled;
    expect(outcomes).toEqual(['first upload_locked', 'second held']);
    expect(clock.pending()).toBe(0);
    await second.lock.unlock();
  });

  test('a waiter leaves no listener on its signal, however the wait ends', async () => {
    const clock = createManualClock();
    const locker = createMemoryLocker({ timeoutMs: 100, clock });
    let listeners = 0;
    const signal = new AbortController().signal;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    const holder = locker.newLock('upload');
    await holder.lock(signal, ignore);
    expect(listeners).toBe(0);
    const late = locker.newLock('upload').lock(signal, ignore);
    expect(listeners).toBe(1);
    clock.pass(100);
    await expect(late).rejects.toMatchObject({ code: 'upload_locked' });
    expect(listeners).toBe(0);
    const next = locker.newLock('upload');
    const granted = next.lock(signal, ignore);
    await holder.unlock();
    await granted;
    expect(listeners).toBe(0);
    await next.unlock();
  });

  test('a new holder is asked for the lock only after it has learnt that it holds it', async () => {
    const locker = createMemoryLocker({ timeoutMs: 1_000 });
    const holder = locker.newLock('upload');
    await holder.lock(never, ignore);
    const events: string[] = [];
    const next = locker.newLock('upload');
    const nextTurnTaken = (async () => {
      await next.lock(never, () => events.push('asked'));
      await Promise.resolve();
      events.push('held');
    })();
    const last = locker.newLock('upload');
    const lastGranted = last.lock(never, ignore);
    await holder.unlock();
    await nextTurnTaken;
    await nextTurn();
    expect(events).toEqual(['held', 'asked']);
    await next.unlock();
    await lastGranted;
    await last.unlock();
  });

  test('a new holder is left alone when those behind it have gone in the meantime', async () => {
    const locker = createMemoryLocker({ timeoutMs: 1_000 });
    const holder = locker.newLock('upload');
    await holder.lock(never, ignore);
    const next = locker.newLock('upload');
    const granted = next.lock(never, () => expect.unreachable('nobody waits any more'));
    const controller = new AbortController();
    const gone = locker.newLock('upload').lock(controller.signal, ignore);
    await holder.unlock();
    controller.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    await granted;
    await nextTurn();
    await nextTurn();
    await next.unlock();
  });

  test('close turns waiters and newcomers away and leaves holders alone', async () => {
    const locker = createMemoryLocker({ timeoutMs: 1_000 });
    const holder = locker.newLock('upload');
    await holder.lock(never, ignore);
    const waiting = [
      locker.newLock('upload').lock(never, ignore),
      locker.newLock('upload').lock(never, ignore),
    ];
    const refused = Promise.all(
      waiting.map((wait) => expect(wait).rejects.toMatchObject({ code: 'store_unavailable' })),
    );
    await locker.close();
    await refused;
    await expect(locker.newLock('other').lock(never, ignore)).rejects.toMatchObject({
      code: 'store_unavailable',
      retryable: true,
    });
    await holder.unlock();
  });

  test('uploads that nobody holds or waits for take no memory', async () => {
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    const locker = createMemoryLocker({ timeoutMs: 1_000 });
    const churn = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        const id = `upload-${round}-${'x'.repeat(100)}`;
        const holder = locker.newLock(id);
        await holder.lock(never, ignore);
        const waiter = locker.newLock(id);
        const granted = waiter.lock(never, ignore);
        await holder.unlock();
        await granted;
        await waiter.unlock();
      }
    };
    await churn(1_000);
    collect();
    const beforeBytes = process.memoryUsage().heapUsed;
    await churn(30_000);
    collect();
    // 30,000 forgotten entries would be 6 MB and more.
    expect(process.memoryUsage().heapUsed - beforeBytes).toBeLessThan(2_000_000);
  });
});
