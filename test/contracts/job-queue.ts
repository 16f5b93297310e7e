import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { type Job, type JobQueue, TerminalJobError, type WorkOptions } from '../../stores/queue/types.ts';
import { until } from '../support/redis.ts';

/** One empty backend with queues on it, made anew for every test. */
export interface JobQueueHarness {
  /** A queue over the harness' backend. With `isShared`, a second call stands for a second process. */
  openQueue(): Promise<JobQueue>;
  /** The first two arguments of test/support/queue-worker.ts. */
  childArguments: [backend: string, where: string];
  /** Closes every queue that was opened and whatever else the harness started. */
  teardown(): Promise<void>;
}

export interface JobQueueTraits {
  /** Several processes may use one backend at once. */
  isShared: boolean;
}

const WORKER = fileURLToPath(new URL('../support/queue-worker.ts', import.meta.url));
const LEASE_MS = 1_000;
const QUICK: WorkOptions = { concurrency: 1, maxAttempts: 3, backoffMs: () => 10, leaseMs: LEASE_MS };

/** What every `JobQueue` has to keep. */
export function jobQueueContract(
  name: string,
  makeHarness: () => Promise<JobQueueHarness>,
  { isShared }: JobQueueTraits,
): void {
  describe(`job queue contract: ${name}`, { timeout: 30_000 }, () => {
    const harnesses: JobQueueHarness[] = [];

    afterEach(async () => {
      for (const harness of harnesses.splice(0)) await harness.teardown();
    });

    async function newHarness(): Promise<JobQueueHarness> {
      const harness = await makeHarness();
      harnesses.push(harness);
      return harness;
    }

    const openQueue = async (): Promise<JobQueue> => (await newHarness()).openQueue();

    test('a job runs with what was added, and is forgotten when it is done', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      const data = { upload: 'ü😀', size: 5 * 2 ** 40, isFinal: true, none: null };
      expect(await queue.add({ id: 'finish:a.b_c-9', kind: 'finish', data })).toBe(true);
      expect(await queue.counts('finish')).toEqual({ waiting: 1, delayed: 0, active: 0, givenUp: 0 });
      queue.work('finish', QUICK, handler);
      await until(() => runs.length === 1);
      expect(runs[0]).toEqual({ id: 'finish:a.b_c-9', kind: 'finish', data, attempt: 1 });
      await until(async () => isEmpty(queue, 'finish'));
      expect(await queue.add({ id: 'finish:a.b_c-9', kind: 'finish' })).toBe(true);
      await until(() => runs.length === 2);
      expect(runs[1]).toEqual({ id: 'finish:a.b_c-9', kind: 'finish', data: {}, attempt: 1 });
    });

    test('a job that waits is added once, however often and at once it is asked for', async () => {
      const queue = await openQueue();
      const adding = Array.from({ length: 20 }, (_, index) =>
        queue.add({ id: 'same', kind: 'test', data: { index } }),
      );
      const added = await Promise.all(adding);
      expect(added.filter(Boolean)).toHaveLength(1);
      expect(await queue.add({ id: 'same', kind: 'test', data: { index: 99 } })).toBe(false);
      expect(await queue.add({ id: 'same', kind: 'test', delayMs: 60_000 })).toBe(false);
      const { runs, handler } = recorder();
      queue.work('test', QUICK, handler);
      await until(async () => runs.length > 0 && (await isEmpty(queue)));
      expect(runs).toMatchObject([{ id: 'same', data: { index: added.indexOf(true) } }]);
    });

    test('ids that look like numbers, or end alike, are ids', async () => {
      const queue = await openQueue();
      const ids = ['1', '007', 'a:1', 'a:1:2', 'a.1', ':', '-', `x${'9'.repeat(199)}`];
      for (const id of ids) expect(await queue.add({ id, kind: 'test' })).toBe(true);
      for (const id of ids) expect(await queue.add({ id, kind: 'test' })).toBe(false);
      const { runs, handler } = recorder();
      queue.work('test', QUICK, handler);
      await until(() => runs.length === ids.length);
      expect(runs.map(({ id }) => id)).toEqual(ids);
    });

    test('a job that is added while it runs, runs once more afterwards, with the newer data', async () => {
      const queue = await openQueue();
      const { runs, handler, running, finish } = recorder({ isHeld: true });
      queue.work('test', { ...QUICK, concurrency: 5 }, handler);
      await queue.add({ id: 'again', kind: 'test', data: { round: 1 } });
      await until(() => running.size === 1);
      const added = await Promise.all([
        queue.add({ id: 'again', kind: 'test', data: { round: 2 } }),
        queue.add({ id: 'again', kind: 'test', data: { round: 2 } }),
      ]);
      expect(added.toSorted()).toEqual([false, true]);
      await sleep(50);
      expect(runs).toHaveLength(1);
      finish();
      await until(() => runs.length === 2);
      expect(runs[1]).toEqual({ id: 'again', kind: 'test', data: { round: 2 }, attempt: 1 });
      expect(await queue.add({ id: 'again', kind: 'test' })).toBe(true);
      finish();
      await until(() => runs.length === 3);
      finish();
      await until(async () => isEmpty(queue));
      expect(runs).toHaveLength(3);
    });

    test('a job that runs is enough for who only sees to it that there is one', async () => {
      const queue = await openQueue();
      const { runs, handler, running, finish } = recorder({ isHeld: true });
      const ensure = (round: number) =>
        queue.add({ id: 'once', kind: 'test', data: { round }, unlessRunning: true });
      expect([await ensure(1), await ensure(2)]).toEqual([true, false]);
      queue.work('test', QUICK, handler);
      await until(() => running.size === 1);
      expect(await ensure(3)).toBe(false);
      finish();
      await until(async () => isEmpty(queue));
      expect(runs).toMatchObject([{ data: { round: 1 } }]);
      expect(await ensure(4)).toBe(true);
      await until(() => runs.length === 2);
      finish();
    });

    test('a job that fails while it was added once more, sees the newer data in its next attempt', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      queue.work('test', QUICK, async (job, signal) => {
        await handler(job, signal);
        if (job.data.round === 2) return;
        await queue.add({ id: 'again', kind: 'test', data: { round: 2 } });
        throw new Error('fails');
      });
      await queue.add({ id: 'again', kind: 'test', data: { round: 1 } });
      await until(async () => runs.length >= 2 && (await isEmpty(queue)));
      expect(runs).toMatchObject([
        { attempt: 1, data: { round: 1 } },
        { attempt: 2, data: { round: 2 } },
      ]);
    });

    test('a job that is given up while it was added once more, runs once more from the first attempt', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      const givenUp: Job[] = [];
      const onGivenUp = async (job: Job) => void givenUp.push(job);
      queue.work('test', { ...QUICK, onGivenUp }, async (job, signal) => {
        await handler(job, signal);
        if (job.data.round === 2) return;
        await queue.add({ id: 'again', kind: 'test', data: { round: 2 } });
        throw new TerminalJobError('hopeless');
      });
      await queue.add({ id: 'again', kind: 'test', data: { round: 1 } });
      await until(async () => runs.length === 2 && (await isEmpty(queue)));
      expect(givenUp).toHaveLength(1);
      expect(runs[1]).toMatchObject({ attempt: 1, data: { round: 2 } });
    });

    test('a job that fails is tried again after the backoff, and then given up, once', async () => {
      const queue = await openQueue();
      const { runs, handler, startedAtMs } = recorder();
      const asked: number[] = [];
      const givenUp: [Job, unknown][] = [];
      const options: WorkOptions = {
        ...QUICK,
        backoffMs(attempt) {
          asked.push(attempt);
          return attempt * 50;
        },
        onGivenUp: async (job, error) => void givenUp.push([job, error]),
      };
      queue.work('test', options, async (job, signal) => {
        await handler(job, signal);
        throw new Error(`attempt ${job.attempt} failed`);
      });
      await queue.add({ id: 'fails', kind: 'test', data: { a: 1 } });
      await until(async () => (await queue.counts('test')).givenUp === 1);
      expect(runs.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
      expect(asked).toEqual([2, 3]);
      expect(elapsed(startedAtMs, 0)).toBeGreaterThanOrEqual(95);
      expect(elapsed(startedAtMs, 1)).toBeGreaterThanOrEqual(145);
      expect(givenUp).toEqual([
        [{ id: 'fails', kind: 'test', data: { a: 1 }, attempt: 3 }, new Error('attempt 3 failed')],
      ]);
      expect(await queue.add({ id: 'fails', kind: 'test' })).toBe(false);
      await sleep(50);
      expect(runs).toHaveLength(3);
      expect(await queue.counts('test')).toEqual({ waiting: 0, delayed: 0, active: 0, givenUp: 1 });
    });

    test('a terminal failure is given up at once', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      const errors: unknown[] = [];
      const onGivenUp = async (_job: Job, error: unknown) => void errors.push(error);
      queue.work('test', { ...QUICK, onGivenUp }, async (job, signal) => {
        await handler(job, signal);
        throw new TerminalJobError('not an image');
      });
      await queue.add({ id: 'hopeless', kind: 'test' });
      await until(async () => (await queue.counts('test')).givenUp === 1);
      expect(runs).toHaveLength(1);
      expect(errors).toEqual([new TerminalJobError('not an image')]);
    });

    test('a given-up job can be removed, and added again', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      queue.work('test', { ...QUICK, maxAttempts: 1 }, async (job, signal) => {
        await handler(job, signal);
        if (runs.length === 1) throw new Error('fails');
      });
      await queue.add({ id: 'twice', kind: 'test' });
      await until(async () => (await queue.counts('test')).givenUp === 1);
      expect(await queue.remove('twice')).toBe(true);
      expect(await queue.remove('twice')).toBe(false);
      expect(await queue.add({ id: 'twice', kind: 'test' })).toBe(true);
      await until(async () => runs.length === 2 && (await isEmpty(queue)));
      expect(runs[1]?.attempt).toBe(1);
    });

    test('who could not be told that a job was given up, is told again', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      let told = 0;
      const options: WorkOptions = {
        ...QUICK,
        maxAttempts: 2,
        async onGivenUp() {
          told += 1;
          if (told < 3) throw new Error('the catalog is away');
        },
      };
      queue.work('test', options, async (job, signal) => {
        await handler(job, signal);
        throw new Error('fails');
      });
      await queue.add({ id: 'untold', kind: 'test' });
      await until(async () => (await queue.counts('test')).givenUp === 1);
      expect(runs).toHaveLength(2);
      expect(told).toBe(3);
    });

    test('waiting and delayed jobs can be removed, running and unknown ones cannot', async () => {
      const queue = await openQueue();
      const { runs, handler, running, finish } = recorder({ isHeld: true });
      await queue.add({ id: 'runs', kind: 'test' });
      await queue.add({ id: 'waits', kind: 'test' });
      await queue.add({ id: 'delayed', kind: 'test', delayMs: 60_000 });
      queue.work('test', QUICK, handler);
      await until(() => running.size === 1);
      expect(await queue.counts('test')).toEqual({ waiting: 1, delayed: 1, active: 1, givenUp: 0 });
      expect(await queue.remove('runs')).toBe(false);
      expect(await queue.remove('waits')).toBe(true);
      expect(await queue.remove('delayed')).toBe(true);
      expect(await queue.remove('unknown')).toBe(false);
      finish();
      await until(async () => isEmpty(queue));
      expect(runs.map(({ id }) => id)).toEqual(['runs']);
    });

    test('jobs of one kind start in the order in which they were added', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      const ids = Array.from({ length: 50 }, (_, index) => `job:${index}`);
      for (const id of ids) await queue.add({ id, kind: 'test' });
      queue.work('test', QUICK, handler);
      await until(() => runs.length === ids.length);
      expect(runs.map(({ id }) => id)).toEqual(ids);
    });

    test('as many jobs run at once as may, and no more', async () => {
      const queue = await openQueue();
      const { runs, handler, running, finish } = recorder({ isHeld: true });
      queue.work('test', { ...QUICK, concurrency: 3 }, handler);
      for (let index = 0; index < 10; index++) await queue.add({ id: `job:${index}`, kind: 'test' });
      for (let finished = 0; finished < 10; finished++) {
        await until(() => running.size === Math.min(3, 10 - finished));
        await sleep(5);
        expect(running.size).toBeLessThanOrEqual(3);
        finish(1);
      }
      await until(async () => isEmpty(queue));
      expect(runs).toHaveLength(10);
    });

    test('a kind waits for no other kind, and is done by its own handler', async () => {
      const queue = await openQueue();
      const slow = recorder({ isHeld: true });
      const quick = recorder();
      queue.work('slow', QUICK, slow.handler);
      queue.work('quick', QUICK, quick.handler);
      expect(() => queue.work('quick', QUICK, quick.handler)).toThrow('quick');
      await queue.add({ id: 'a', kind: 'slow' });
      await queue.add({ id: 'b', kind: 'slow' });
      await queue.add({ id: 'c', kind: 'quick' });
      await until(() => quick.runs.length === 1 && slow.runs.length === 1);
      expect(quick.runs[0]?.id).toBe('c');
      slow.finish();
      await until(() => slow.runs.length === 2);
      slow.finish();
    });

    test('a delayed job waits for its time, and holds up no other', async () => {
      const queue = await openQueue();
      const { runs, handler, startedAtMs } = recorder();
      queue.work('test', QUICK, handler);
      const addedAtMs = Date.now();
      // So far apart that one is due before the other however long adding them takes.
      await queue.add({ id: 'later', kind: 'test', delayMs: 2_500 });
      await queue.add({ id: 'soon', kind: 'test', delayMs: 1_000 });
      await queue.add({ id: 'now', kind: 'test' });
      expect((await queue.counts('test')).delayed).toBe(2);
      await until(() => runs.length === 3);
      expect(runs.map(({ id }) => id)).toEqual(['now', 'soon', 'later']);
      expect((startedAtMs[2] ?? 0) - addedAtMs).toBeGreaterThanOrEqual(2_495);
    });

    test('a job that takes longer than the lease keeps it', async () => {
      const queue = await openQueue();
      const other = isShared ? await (harnesses.at(-1) as JobQueueHarness).openQueue() : undefined;
      const { runs, handler, finish } = recorder({ isHeld: true });
      const options = { ...QUICK, leaseMs: 1_500 };
      queue.work('test', options, handler);
      other?.work('test', options, handler);
      await queue.add({ id: 'long', kind: 'test' });
      await sleep(2.2 * options.leaseMs);
      expect(runs).toHaveLength(1);
      finish();
      await until(async () => isEmpty(queue));
      expect(runs).toHaveLength(1);
    });

    test('a worker that closes aborts its jobs and waits for them; they run again as if they had not begun', async () => {
      const harness = await newHarness();
      const queue = await harness.openQueue();
      const { runs, running, handler } = recorder({ isHeld: true });
      const worker = queue.work('test', QUICK, handler);
      await queue.add({ id: 'held', kind: 'test' });
      await queue.add({ id: 'next', kind: 'test' });
      await until(() => running.size === 1);
      await worker.close();
      expect(running.size).toBe(0);
      expect(runs.map(({ id }) => id)).toEqual(['held']);
      expect((await queue.counts('test')).active).toBe(0);
      await queue.close();

      const reopened = await harness.openQueue();
      const after = recorder();
      reopened.work('test', QUICK, after.handler);
      await until(() => after.runs.length === 2);
      expect(after.runs.map(({ id, attempt }) => [id, attempt]).toSorted()).toEqual([
        ['held', 1],
        ['next', 1],
      ]);
    });

    test('closing the queue waits for a job that ends well all the same, which is then done', async () => {
      const harness = await newHarness();
      const queue = await harness.openQueue();
      let isDone = false;
      let isStarted = false;
      queue.work('test', QUICK, async () => {
        isStarted = true;
        await sleep(100);
        isDone = true;
      });
      await queue.add({ id: 'short', kind: 'test' });
      await until(() => isStarted);
      await queue.close();
      await queue.close();
      expect(isDone).toBe(true);
      expect(await isEmpty(await harness.openQueue())).toBe(true);
    });

    test('a closed queue takes nothing more', async () => {
      const queue = await openQueue();
      await queue.close();
      await expect(queue.add({ id: 'a', kind: 'test' })).rejects.toMatchObject({ code: 'store_unavailable' });
      await expect(queue.counts('test')).rejects.toMatchObject({ code: 'store_unavailable' });
      await expect(queue.check()).rejects.toMatchObject({ code: 'store_unavailable' });
    });

    test('what is no job is refused', async () => {
      const queue = await openQueue();
      for (const id of ['', 'a b', 'ä', 'a/b', 'x'.repeat(201)]) {
        await expect(queue.add({ id, kind: 'test' })).rejects.toThrow(RangeError);
      }
      for (const kind of ['', 'a:b', 'A', '1a']) {
        await expect(queue.add({ id: 'a', kind })).rejects.toThrow(RangeError);
        expect(() => queue.work(kind, QUICK, async () => {})).toThrow(RangeError);
      }
      const large = { text: 'x'.repeat(20_000) };
      await expect(queue.add({ id: 'a', kind: 'test', data: large })).rejects.toThrow(RangeError);
      await expect(queue.add({ id: 'a', kind: 'test', delayMs: Number.NaN })).rejects.toThrow(RangeError);
      expect(await isEmpty(queue)).toBe(true);
      await queue.check();
    });

    test('five hundred jobs run once each', async () => {
      const queue = await openQueue();
      const { runs, handler } = recorder();
      queue.work('test', { ...QUICK, concurrency: 8 }, handler);
      const ids = Array.from({ length: 500 }, (_, index) => `job:${index}`);
      expect(await Promise.all(ids.map((id) => queue.add({ id, kind: 'test' })))).not.toContain(false);
      await until(async () => runs.length >= 500 && (await isEmpty(queue)));
      expect(runs.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    });

    test('what was added survives kill -9 right after', async () => {
      const harness = await newHarness();
      const child = spawnChild(harness, 'add');
      expect(await child.exit).toBe('SIGKILL');
      const queue = await harness.openQueue();
      const { runs, handler } = recorder();
      queue.work('test', QUICK, handler);
      await until(() => runs.length === 1);
      expect(runs[0]).toMatchObject({ id: 'durable', attempt: 1 });
    });

    test('a job whose process was killed is taken up, and the attempt counts', async () => {
      const harness = await newHarness();
      const first = await harness.openQueue();
      await first.add({ id: 'orphan', kind: 'test' });
      await first.close();
      const child = spawnChild(harness, 'hold');
      expect(await child.line).toBe('attempt 1');
      child.kill();
      await child.exit;

      const queue = await harness.openQueue();
      const { runs, handler } = recorder();
      queue.work('test', QUICK, handler);
      await until(() => runs.length === 1);
      expect(runs[0]).toMatchObject({ id: 'orphan', attempt: 2 });
      await until(async () => isEmpty(queue));
    });

    test('a job that kills every process is given up', async () => {
      const harness = await newHarness();
      const first = await harness.openQueue();
      await first.add({ id: 'bomb', kind: 'test' });
      await first.close();
      for (let attempt = 1; attempt <= 2; attempt++)
        expect(await spawnChild(harness, 'bomb').exit).toBe('SIGKILL');
      const queue = await harness.openQueue();
      const { runs, handler } = recorder();
      const givenUp: Job[] = [];
      queue.work(
        'test',
        { ...QUICK, maxAttempts: 2, onGivenUp: async (job) => void givenUp.push(job) },
        handler,
      );
      await until(async () => (await queue.counts('test')).givenUp === 1);
      expect(runs).toHaveLength(0);
      expect(givenUp).toMatchObject([{ id: 'bomb', attempt: 3 }]);
    });

    if (isShared) {
      test('processes share the work, and no job runs twice', async () => {
        const harness = await newHarness();
        const queues = await Promise.all([harness.openQueue(), harness.openQueue(), harness.openQueue()]);
        const ids = Array.from({ length: 60 }, (_, index) => `job:${index}`);
        const added = await Promise.all(
          ids.flatMap((id) => queues.map((queue) => queue.add({ id, kind: 'test' }))),
        );
        expect(added.filter(Boolean)).toHaveLength(ids.length);
        const recorders = queues.slice(1).map((queue) => {
          const each = recorder();
          queue.work('test', { ...QUICK, concurrency: 2 }, async (job, signal) => {
            await each.handler(job, signal);
            await sleep(5);
          });
          return each;
        });
        const runs = () => recorders.flatMap((each) => each.runs.map(({ id }) => id));
        await until(async () => runs().length >= ids.length && (await isEmpty(queues[0] as JobQueue)));
        for (const { runs } of recorders) expect(runs.length).toBeGreaterThan(0);
        expect(runs().toSorted()).toEqual(ids.toSorted());
      });
    }
  });
}

/** A handler that notes its jobs; when it is held, every run waits for `finish` or its signal. */
function recorder({ isHeld = false } = {}) {
  const runs: Job[] = [];
  const startedAtMs: number[] = [];
  const running = new Set<() => void>();
  return {
    runs,
    startedAtMs,
    running,
    /** Ends so many of the runs that wait, oldest first. */
    finish(count = Number.POSITIVE_INFINITY) {
      for (const end of [...running].slice(0, count)) end();
    },
    async handler(job: Job, signal: AbortSignal): Promise<void> {
      runs.push(job);
      startedAtMs.push(Date.now());
      if (!isHeld) return;
      await new Promise<void>((resolve, reject) => {
        const end = () => {
          running.delete(end);
          if (signal.aborted) reject(signal.reason);
          else resolve();
        };
        running.add(end);
        signal.addEventListener('abort', end, { once: true });
      });
    },
  };
}

function elapsed(times: readonly number[], from: number): number {
  return (times[from + 1] ?? 0) - (times[from] ?? 0);
}

async function isEmpty(queue: JobQueue, kind = 'test'): Promise<boolean> {
  const { waiting, delayed, active, givenUp } = await queue.counts(kind);
  return waiting + delayed + active + givenUp === 0;
}

function spawnChild({ childArguments }: JobQueueHarness, mode: 'add' | 'hold' | 'bomb') {
  const child = spawn(process.execPath, [WORKER, ...childArguments, mode, String(LEASE_MS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit').then(([code, signal]) => (signal ?? code) as unknown);
  const line = once(child.stdout, 'data').then(([chunk]) => String(chunk).trim());
  line.catch(() => {});
  return { line, exit, kill: () => void child.kill('SIGKILL') };
}
