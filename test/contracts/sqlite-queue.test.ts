import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../stores/clock.ts';
import { openSqliteQueue, type SqliteQueueOptions } from '../../stores/queue/sqlite.ts';
import { type JobQueue, TerminalJobError, type WorkOptions } from '../../stores/queue/types.ts';
import type { RecreatedEvent } from '../../stores/sqlite/database-file.ts';
import { until } from '../support/redis.ts';
import { openTestQueue } from '../support/test-queues.ts';
import { jobQueueContract } from './job-queue.ts';

jobQueueContract(
  'sqlite',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'landfall-queue-'));
    const path = join(directory, 'jobs.db');
    const opened: JobQueue[] = [];
    return {
      childArguments: ['sqlite', path],
      async openQueue() {
        const queue = await openTestQueue('sqlite', path);
        opened.push(queue);
        return queue;
      },
      async teardown() {
        for (const queue of opened) await queue.close();
        await rm(directory, { recursive: true });
      },
    };
  },
  { isShared: false },
);

describe('jobs in SQLite', () => {
  const options: WorkOptions = { concurrency: 2, maxAttempts: 3, backoffMs: () => 10, leaseMs: 1_000 };
  let directory: string;
  let path: string;
  const opened: JobQueue[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'landfall-queue-'));
    path = join(directory, 'jobs.db');
  });

  afterEach(async () => {
    for (const queue of opened.splice(0)) await queue.close();
    await rm(directory, { recursive: true });
  });

  function openQueue(more: Partial<SqliteQueueOptions> = {}): JobQueue {
    const queue = openSqliteQueue({ path, ...more });
    opened.push(queue);
    return queue;
  }

  test('a damaged file is moved away and a new one begun', async () => {
    await writeFile(path, Buffer.alloc(8192, 'this is no database '));
    const events: RecreatedEvent[] = [];
    const queue = openQueue({ onRecreated: (event) => events.push(event) });
    expect(await queue.add({ id: 'a', kind: 'test' })).toBe(true);
    expect(events).toMatchObject([{ error: { code: 'upload_damaged' } }]);
    expect(await readFile(events[0]?.damagedPath ?? '', 'utf8')).toContain('this is no database');
  });

  test('a file of a newer program is left alone', async () => {
    await openQueue().close();
    const db = new DatabaseSync(path);
    db.exec('PRAGMA user_version = 99');
    db.close();
    expect(() => openQueue()).toThrow('newer version');
  });

  test('while another connection holds the file nothing is added, and jobs go on afterwards', async () => {
    const queue = openQueue();
    const runs: string[] = [];
    queue.work('test', options, async ({ id }) => void runs.push(id));
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    await expect(queue.add({ id: 'a', kind: 'test' })).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(queue.check()).rejects.toMatchObject({ code: 'store_unavailable' });
    other.exec('ROLLBACK');
    other.close();
    expect(await queue.add({ id: 'b', kind: 'test' })).toBe(true);
    await until(() => runs.length === 1);
    await queue.check();
  });

  test('a job whose end could not be written runs again', async () => {
    const queue = openQueue();
    const attempts: number[] = [];
    const other = new DatabaseSync(path);
    queue.work('test', options, async ({ attempt }) => {
      attempts.push(attempt);
      if (attempts.length === 1) other.exec('BEGIN IMMEDIATE');
    });
    await queue.add({ id: 'a', kind: 'test' });
    await until(() => attempts.length === 1);
    await sleep(1_200); // SQLite waits so long for the other connection
    other.exec('ROLLBACK');
    other.close();
    await until(async () => (await queue.counts('test')).active === 0 && attempts.length === 2);
    expect(attempts).toEqual([1, 2]);
  });

  test('jobs that were given up are forgotten after seven days, and beyond ten thousand', async () => {
    let nowMs = 1_750_000_000_000;
    const clock: Clock = { now: () => nowMs, setTimer: systemClock.setTimer };
    const queue = openQueue({ clock });
    queue.work('test', { ...options, concurrency: 100 }, async () => {
      throw new TerminalJobError('no');
    });
    const addMany = (from: number, to: number) =>
      Promise.all(
        Array.from({ length: to - from }, (_, index) => queue.add({ id: `${from + index}`, kind: 'test' })),
      );
    const givenUp = async () => (await queue.counts('test')).givenUp;
    for (let number = 0; number < 10_000; number += 1_000) {
      await addMany(number, number + 1_000);
      await until(async () => (await givenUp()) === number + 1_000);
      nowMs += 1;
    }
    await addMany(10_000, 10_001);
    await until(async () => (await givenUp()) < 10_000);
    expect(await queue.add({ id: '9999', kind: 'test' })).toBe(false);
    nowMs += 7 * 24 * 3600_000 + 1;
    await addMany(10_001, 10_101);
    await until(async () => (await givenUp()) === 100);
    expect(await queue.add({ id: '9999', kind: 'test' })).toBe(true);
  });
});
