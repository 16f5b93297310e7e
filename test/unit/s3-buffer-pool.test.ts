import { expect, test } from 'vitest';
import { createBufferBudget } from '../../stores/buffer-budget.ts';
import type { Environment } from '../../stores/environment.ts';
import { createBufferPool } from '../../stores/s3/part-buffer.ts';

const MIB = 1024 * 1024;

/** Timers that run when they are told to. */
function stoppedTime() {
  let timers: (() => void)[] = [];
  const environment: Environment = {
    nowMs: () => 0,
    setTimer(_ms, callback) {
      timers.push(callback);
      return () => {
        timers = timers.filter((timer) => timer !== callback);
      };
    },
    random: () => 0,
    randomHex: () => '00',
  };
  const pass = () => {
    const due = timers;
    timers = [];
    for (const timer of due) timer();
  };
  return { environment, pass, count: () => timers.length };
}

function createPool() {
  const time = stoppedTime();
  const budget = createBufferBudget({
    totalBytes: 64 * MIB,
    environment: time.environment,
    yieldIdleMs: 1,
    yieldAfterMs: 1,
  });
  return { pool: createBufferPool(budget, time.environment), time };
}

test('memory that nobody wanted for a whole period is given back; what is in use again is kept', () => {
  const { pool, time } = createPool();
  const [first, second] = [pool.take(8 * MIB), pool.take(8 * MIB)];
  pool.give(first);
  pool.give(second);
  time.pass();
  expect([first.length, second.length]).toEqual([8 * MIB, 8 * MIB]);

  const again = pool.take(8 * MIB);
  pool.give(again);
  time.pass();
  // One of the two was not needed since the last look.
  expect([first.length, second.length].sort()).toEqual([0, 8 * MIB]);

  time.pass();
  expect([first.length, second.length]).toEqual([0, 0]);
  expect(time.count()).toBe(0);
});

test('nothing is left to do after a pool is cleared', () => {
  const { pool, time } = createPool();
  const memory = pool.take(8 * MIB);
  pool.give(memory);
  pool.clear();
  expect([memory.length, time.count()]).toEqual([0, 0]);
});
