import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { isStoreError } from '../../stores/errors.ts';
import type { Locker, UploadLock } from '../../stores/locker/types.ts';

/** One backend with lockers on it, made anew for every test. */
export interface LockerHarness {
  /**
   * A locker over the harness' backend. Called twice in a test, it stands for two processes that share the
   * backend; an in-process locker returns the same instance again. `timeoutMs`: how long `lock` may wait.
   */
  createLocker(options: { timeoutMs: number }): Promise<Locker> | Locker;
  /** Makes the backend forget, or give to somebody else, the lock that is held on `id`. Needed with `canBeLost`. */
  loseLock?(id: string): Promise<void>;
  /** Closes every locker made and whatever else the harness started. */
  teardown(): Promise<void>;
}

export interface LockerTraits {
  /** A held lock can be lost (a lease that runs out). False: `lost` never aborts. */
  canBeLost: boolean;
  /** Waiters of one locker get the lock in the order in which they asked. */
  isFifo: boolean;
}

/** Long enough for any backend to answer; no test waits for it unless it fails. */
const PATIENT_MS = 8_000;
/** How long a test watches that something does *not* happen. */
const WATCH_MS = 60;

const never = new AbortController().signal;
const ignore = (): void => {};

/** What every `Locker` has to keep, whether it lives in this process or behind a network. */
export function lockerContract(
  name: string,
  makeHarness: () => Promise<LockerHarness> | LockerHarness,
  traits: LockerTraits,
): void {
  describe(`locker contract: ${name}`, { timeout: 30_000 }, () => {
    const harnesses: LockerHarness[] = [];

    afterEach(async () => {
      for (const harness of harnesses.splice(0)) await harness.teardown();
    });

    async function setUp(timeoutMs = PATIENT_MS) {
      const harness = await makeHarness();
      harnesses.push(harness);
      const one = await harness.createLocker({ timeoutMs });
      const other = await harness.createLocker({ timeoutMs });
      return { harness, one, other };
    }

    test('a free lock is taken, given back and taken again', async () => {
      const { one, other } = await setUp();
      for (let round = 0; round < 10; round++) {
        const lock = (round % 2 === 0 ? one : other).newLock('upload');
        await lock.lock(never, () => expect.unreachable('nobody else wants it'));
        await lock.unlock();
      }
    });

    test('locks on different uploads are independent', async () => {
      const { one, other } = await setUp();
      const ids = ['a', 'b', 'A', 'a-b', '__proto__', 'constructor'];
      const locks = ids.map((id, index) => (index % 2 === 0 ? one : other).newLock(id));
      for (const lock of locks) {
        await lock.lock(never, () => expect.unreachable('nobody else wants this one'));
      }
      for (const lock of locks) await lock.unlock();
    });

    test('a newcomer asks the holder to release, and waits until it has', async () => {
      const { one, other } = await setUp();
      const holder = one.newLock('upload');
      let asked = 0;
      await holder.lock(never, () => {
        asked++;
      });
      const newcomer = watch(other.newLock('upload'));
      await until(() => asked === 1);
      await sleep(WATCH_MS);
      expect(newcomer.state).toBe('waiting');
      await holder.unlock();
      await newcomer.settled;
      expect(newcomer.state).toBe('held');
      expect(asked).toBe(1);
      await newcomer.lock.unlock();
    });

    test('a holder is asked at most once, however many want the lock', async () => {
      const { one, other } = await setUp();
      const holder = one.newLock('upload');
      let asked = 0;
      await holder.lock(never, () => {
        asked++;
      });
      const waiters = [one, other, one, other].map((locker) => watch(locker.newLock('upload')));
      await until(() => asked === 1);
      await sleep(WATCH_MS);
      expect(asked).toBe(1);
      await holder.unlock();
      await drainAll(waiters);
      expect(asked).toBe(1);
    });

    test('a holder that got the lock with others waiting behind it is asked too', async () => {
      const { one } = await setUp();
      const first = one.newLock('upload');
      await first.lock(never, ignore);
      const waiters = [watch(one.newLock('upload')), watch(one.newLock('upload'))];
      await sleep(WATCH_MS);
      await first.unlock();
      await until(() => waiters.some((waiter) => waiter.state === 'held'));
      const second = waiters.find((waiter) => waiter.state === 'held');
      await until(() => second?.asked === 1);
      await second?.lock.unlock();
      await drainAll(waiters);
      expect(waiters.map((waiter) => waiter.asked).sort()).toEqual([0, 1]);
    });

    test('a holder may give the lock back from inside the release request', async () => {
      const { one, other } = await setUp();
      const holder = one.newLock('upload');
      await holder.lock(never, () => {
        void holder.unlock();
      });
      const newcomer = other.newLock('upload');
      await newcomer.lock(never, ignore);
      await newcomer.unlock();
    });

    test('a release request that throws disturbs nobody', async () => {
      const { one, other } = await setUp();
      const holder = one.newLock('upload');
      let asked = 0;
      await holder.lock(never, () => {
        asked++;
        throw new Error('thrown by the release request');
      });
      const newcomer = watch(other.newLock('upload'));
      await until(() => asked === 1);
      await holder.unlock();
      await newcomer.settled;
      expect(newcomer.state).toBe('held');
      await newcomer.lock.unlock();
    });

    test('at most one holder at any time', async () => {
      const { one, other } = await setUp();
      let holders = 0;
      let turns = 0;
      await Promise.all(
        Array.from({ length: 24 }, async (_, index) => {
          const lock = (index % 2 === 0 ? one : other).newLock('upload');
          await lock.lock(never, ignore);
          holders++;
          expect(holders).toBe(1);
          await sleep(index % 3);
          expect(holders).toBe(1);
          holders--;
          turns++;
          await lock.unlock();
        }),
      );
      expect(turns).toBe(24);
    });

    if (traits.isFifo) {
      test('waiters get the lock in the order in which they asked', async () => {
        const { one } = await setUp();
        const holder = one.newLock('upload');
        await holder.lock(never, ignore);
        const order: number[] = [];
        const turns: Promise<void>[] = [];
        for (let index = 0; index < 6; index++) {
          const lock = one.newLock('upload');
          turns.push(
            lock.lock(never, ignore).then(() => {
              order.push(index);
              return lock.unlock();
            }),
          );
        }
        await holder.unlock();
        await Promise.all(turns);
        expect(order).toEqual([0, 1, 2, 3, 4, 5]);
      });
    }

    test('not free in time is upload_locked, and the lock stays with its holder', async () => {
      const { one, other } = await setUp(150);
      const holder = one.newLock('upload');
      await holder.lock(never, ignore);
      const startedAt = performance.now();
      const late = other.newLock('upload');
      const error = await late.lock(never, ignore).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(isStoreError(error, 'upload_locked')).toBe(true);
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(140);
      await late.unlock(); // a failed attempt owns nothing that it could free
      await expect(other.newLock('upload').lock(never, ignore)).rejects.toMatchObject({
        code: 'upload_locked',
        retryable: true,
      });
      await holder.unlock();
      const next = other.newLock('upload');
      await next.lock(never, ignore);
      await next.unlock();
    });

    test('an abort while waiting rejects with its reason and leaves the queue', async () => {
      const { one, other } = await setUp();
      const holder = one.newLock('upload');
      let asked = 0;
      await holder.lock(never, () => {
        asked++;
      });
      const controller = new AbortController();
      const reason = new Error('the client went away');
      const gone = watch(other.newLock('upload'), controller.signal);
      await until(() => asked === 1);
      controller.abort(reason);
      await gone.settled;
      expect(gone.state).toBe('rejected');
      expect(gone.error).toBe(reason);
      await gone.lock.unlock();
      const next = watch(other.newLock('upload'));
      await sleep(WATCH_MS);
      expect(next.state).toBe('waiting');
      await holder.unlock();
      await next.settled;
      expect(next.state).toBe('held');
      expect(next.asked).toBe(0);
      await next.lock.unlock();
    });

    test('an aborted signal takes no lock', async () => {
      const { one, other } = await setUp();
      const reason = new Error('gone before it began');
      await expect(one.newLock('upload').lock(AbortSignal.abort(reason), ignore)).rejects.toBe(reason);
      const next = other.newLock('upload');
      await next.lock(never, () => expect.unreachable('nobody else wants it'));
      await next.unlock();
    });

    test('an abort after the lock was taken does not give it back', async () => {
      const { one, other } = await setUp();
      const controller = new AbortController();
      const holder = one.newLock('upload');
      await holder.lock(controller.signal, ignore);
      controller.abort(new Error('too late'));
      const newcomer = watch(other.newLock('upload'));
      await sleep(WATCH_MS);
      expect(newcomer.state).toBe('waiting');
      await holder.unlock();
      await newcomer.settled;
      expect(newcomer.state).toBe('held');
      await newcomer.lock.unlock();
    });

    test('unlock is harmless without the lock, twice, and by an old holder', async () => {
      const { one, other } = await setUp();
      await one.newLock('upload').unlock();
      const old = one.newLock('upload');
      await old.lock(never, ignore);
      await old.unlock();
      await old.unlock();
      const holder = other.newLock('upload');
      await holder.lock(never, ignore);
      await old.unlock();
      await one.newLock('upload').unlock();
      const newcomer = watch(one.newLock('upload'));
      await sleep(WATCH_MS);
      expect(newcomer.state).toBe('waiting');
      await holder.unlock();
      await newcomer.settled;
      expect(newcomer.state).toBe('held');
      await newcomer.lock.unlock();
    });

    test('a lock that is held and given back is not lost', async () => {
      const { one, other } = await setUp();
      const lock = one.newLock('upload');
      expect(lock.lost.aborted).toBe(false);
      await lock.lock(never, ignore);
      const newcomer = watch(other.newLock('upload'));
      await sleep(WATCH_MS);
      expect(lock.lost.aborted).toBe(false);
      await lock.unlock();
      await newcomer.settled;
      expect(lock.lost.aborted).toBe(false);
      await newcomer.lock.unlock();
      expect(newcomer.lock.lost.aborted).toBe(false);
    });

    if (traits.canBeLost) {
      test('a lost lock says so, stays lost, and cannot free the next holder', async () => {
        const { harness, one, other } = await setUp();
        const holder = one.newLock('upload');
        await holder.lock(never, ignore);
        await harness.loseLock?.('upload');
        await until(() => holder.lost.aborted);
        const next = other.newLock('upload');
        await next.lock(never, ignore);
        await holder.unlock();
        const newcomer = watch(one.newLock('upload'));
        await sleep(WATCH_MS);
        expect(newcomer.state).toBe('waiting');
        expect(next.lost.aborted).toBe(false);
        expect(holder.lost.aborted).toBe(true);
        await next.unlock();
        await newcomer.settled;
        expect(newcomer.state).toBe('held');
        await newcomer.lock.unlock();
      });
    }
  });
}

interface WatchedLock {
  lock: UploadLock;
  state: 'waiting' | 'held' | 'rejected';
  error: unknown;
  /** How often it was asked to release. */
  asked: number;
  settled: Promise<void>;
}

/** Starts to wait for a lock and tells how it goes. */
function watch(lock: UploadLock, signal: AbortSignal = never): WatchedLock {
  const watched: WatchedLock = {
    lock,
    state: 'waiting',
    error: undefined,
    asked: 0,
    settled: Promise.resolve(),
  };
  watched.settled = lock
    .lock(signal, () => {
      watched.asked++;
    })
    .then(
      () => {
        watched.state = 'held';
      },
      (error: unknown) => {
        watched.state = 'rejected';
        watched.error = error;
      },
    );
  return watched;
}

/** Gives every waiter its turn, in whatever order they get it. */
async function drainAll(waiters: WatchedLock[]): Promise<void> {
  await Promise.all(
    waiters.map(async (waiter) => {
      await waiter.settled;
      expect(waiter.state).toBe('held');
      await waiter.lock.unlock();
    }),
  );
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENT_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`did not come true in time: ${condition}`);
    await sleep(2);
  }
}
