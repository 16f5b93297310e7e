import { type Clock, systemClock } from '../clock.ts';
import { closedError, notFreeInTime } from './lock-errors.ts';
import type { Locker, UploadLock } from './types.ts';

/*
 * Locks of one process, in its memory. Nothing is written anywhere: a crash frees every lock, which is right, since
 * the writers died with it. Only safe where one process alone writes to the store.
 *
 * A lock is handed from its holder to the first waiter (no polling, no window in which a third request slips in).
 * The path that nobody contends costs one Map entry: no AbortController, no timer, no listener, no new promise.
 * An upload that nobody holds or waits for takes no memory.
 */

export interface MemoryLockerOptions {
  /** How long `lock` waits before it rejects with upload_locked. */
  timeoutMs: number;
  clock?: Clock;
}

/** A lock in this process's memory cannot be lost while the process lives: one signal serves all. */
const neverLost = new AbortController().signal;
const heldAtOnce = Promise.resolve();

interface Waiter {
  lock: MemoryLock;
  grant(): void;
  reject(reason: unknown): void;
}

/** The state that the locks of one locker share. */
interface LockTable {
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly holders: Map<string, MemoryLock>;
  /** In the order of arrival. No entry while nobody waits. */
  readonly waiters: Map<string, Set<Waiter>>;
  isClosed: boolean;
}

export function createMemoryLocker({ timeoutMs, clock = systemClock }: MemoryLockerOptions): Locker {
  const table: LockTable = { timeoutMs, clock, holders: new Map(), waiters: new Map(), isClosed: false };
  return {
    newLock: (id) => new MemoryLock(table, id),

    /** Who waits is turned away with store_unavailable; who holds a lock keeps it until it unlocks. */
    async close() {
      table.isClosed = true;
      for (const queue of [...table.waiters.values()]) {
        for (const waiter of [...queue]) waiter.reject(closedError());
      }
    },
  };
}

class MemoryLock implements UploadLock {
  readonly lost = neverLost;
  readonly #table: LockTable;
  readonly #id: string;
  /** Set from `lock` until the one call that a holder may get. */
  #requestRelease: (() => void) | undefined;

  constructor(table: LockTable, id: string) {
    this.#table = table;
    this.#id = id;
  }

  lock(signal: AbortSignal, requestRelease: () => void): Promise<void> {
    const { holders, isClosed } = this.#table;
    if (signal.aborted) return Promise.reject(signal.reason);
    if (isClosed) return Promise.reject(closedError());
    this.#requestRelease = requestRelease;
    const holder = holders.get(this.#id);
    if (holder === undefined) {
      holders.set(this.#id, this);
      return heldAtOnce;
    }
    return this.#wait(holder, signal);
  }

  async unlock(): Promise<void> {
    const { holders, waiters } = this.#table;
    // Also an attempt that failed, or a holder of old, comes by here: only the holder itself frees the lock.
    if (holders.get(this.#id) !== this) return;
    this.#requestRelease = undefined;
    const next = waiters.get(this.#id)?.values().next().value;
    if (next === undefined) {
      holders.delete(this.#id);
      return;
    }
    holders.set(this.#id, next.lock);
    next.grant();
    // The new holder's own code has to learn first that it holds the lock: ask it one turn later.
    if (waiters.has(this.#id)) setImmediate(() => this.#askNewHolder(next.lock));
  }

  #wait(holder: MemoryLock, signal: AbortSignal): Promise<void> {
    const { clock, timeoutMs, waiters } = this.#table;
    return new Promise((resolve, reject) => {
      const queue = waiters.get(this.#id) ?? new Set<Waiter>();
      const leave = (): void => {
        cancelTimer();
        signal.removeEventListener('abort', onAbort);
        queue.delete(waiter);
        if (queue.size === 0) waiters.delete(this.#id);
      };
      const waiter: Waiter = {
        lock: this,
        grant: () => {
          leave();
          resolve();
        },
        reject: (reason) => {
          leave();
          this.#requestRelease = undefined;
          reject(reason);
        },
      };
      const onAbort = (): void => waiter.reject(signal.reason);
      const cancelTimer = clock.setTimer(() => waiter.reject(notFreeInTime(timeoutMs)), timeoutMs);
      signal.addEventListener('abort', onAbort, { once: true });
      queue.add(waiter);
      waiters.set(this.#id, queue);
      holder.#askToRelease();
    });
  }

  /** Somebody may have left the queue, or the holder the lock, since the call was put off. */
  #askNewHolder(lock: MemoryLock): void {
    const { holders, waiters } = this.#table;
    if (holders.get(this.#id) === lock && waiters.has(this.#id)) lock.#askToRelease();
  }

  #askToRelease(): void {
    const requestRelease = this.#requestRelease;
    this.#requestRelease = undefined;
    try {
      requestRelease?.();
    } catch {
      // The holder's trouble with draining is its own; the newcomer waits for the unlock, or its timeout, anyway.
    }
  }
}
