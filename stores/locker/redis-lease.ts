import { StoreError } from '../errors.ts';
import type { LockTable } from './redis-lock-table.ts';

/** A moment by both clocks of this machine; see `elapsedMs`. */
export interface Instant {
  monotonicMs: number;
  wallMs: number;
}

export interface LeaseEvents {
  /** Renewing has shown that somebody waits for the lock. */
  onWanted(): void;
  /** Called once; nothing follows it. */
  onLost(reason: StoreError): void;
}

/** Part of the time to live during which a holder counts on its lock: the rest is for clocks that differ. */
const TRUST = 0.8;

/**
 * What a holder knows about its lock: when Redis last confirmed it. Renews at a third of the time to live. Ends, once
 * and for all, when Redis says that the lock is somebody else's, or when nothing was confirmed for 0.8 of the time to
 * live, counted from when the confirmed renewal was *sent*. Everyone who relies on the lease asks `isValid` first:
 * after a stop of the process (SIGSTOP, a blocked event loop) other callbacks may run before our timers do.
 */
export class Lease {
  readonly #table: LockTable;
  readonly #token: string;
  readonly #keys: string[];
  readonly #events: LeaseEvents;
  #confirmedAt: Instant;
  #isOver = false;
  #cancelRenewal: () => void = () => {};
  #cancelDeadline: () => void = () => {};

  constructor(table: LockTable, id: string, token: string, grantedAt: Instant, events: LeaseEvents) {
    this.#table = table;
    this.#token = token;
    this.#keys = [table.keys.lock(id), table.keys.waiters(id)];
    this.#events = events;
    this.#confirmedAt = grantedAt;
    this.#renewIn(table.ttlMs / 3 - elapsedMs(table, grantedAt));
  }

  /** Ends the lease if its time is over. */
  isValid(): boolean {
    if (!this.#isOver && this.#remainingMs() <= 0) {
      this.#lose('Its renewal was not confirmed in time.');
    }
    return !this.#isOver;
  }

  /** No more renewals, and no more events. */
  stop(): void {
    this.#isOver = true;
    this.#cancelRenewal();
    this.#cancelDeadline();
  }

  #remainingMs(): number {
    return TRUST * this.#table.ttlMs - elapsedMs(this.#table, this.#confirmedAt);
  }

  #renewIn(delayMs: number): void {
    this.#cancelRenewal = this.#table.clock.setTimer(() => void this.#renew(), Math.max(delayMs, 0));
  }

  async #renew(): Promise<void> {
    if (!this.isValid()) return;
    this.#cancelDeadline();
    this.#cancelDeadline = this.#table.clock.setTimer(
      () => this.isValid(),
      Math.ceil(this.#remainingMs()) + 1,
    );
    const { redis, scripts, ttlMs } = this.#table;
    const sentAt = instantOf(this.#table);
    let reply: unknown;
    try {
      reply = await redis.run(scripts.renew, this.#keys, [this.#token, ttlMs]);
    } catch {
      // Redis may be back in time.
      if (this.isValid()) this.#renewIn(ttlMs / 12);
      return;
    }
    // First the clock, then the answer: one that took too long is worth nothing, whatever it says.
    if (!this.isValid()) return;
    if (reply === 0) return this.#lose('Redis says that it is not ours any more.');
    this.#confirmedAt = sentAt;
    this.#cancelDeadline();
    this.#renewIn(ttlMs / 3 - elapsedMs(this.#table, sentAt));
    if (reply === 2) this.#events.onWanted();
  }

  #lose(why: string): void {
    this.stop();
    this.#events.onLost(new StoreError('lock_lost', `The lock on this upload was lost. ${why}`));
  }
}

export function instantOf(table: LockTable): Instant {
  return { monotonicMs: table.monotonicMs(), wallMs: table.clock.now() };
}

/**
 * By the clock that has moved more. The monotonic one is the right one, but stands still while a virtual machine is
 * suspended; the other one may be set forward, which at worst ends a lease too early.
 */
export function elapsedMs(table: LockTable, since: Instant): number {
  return Math.max(table.monotonicMs() - since.monotonicMs, table.clock.now() - since.wallMs);
}

/** Whether a lock that Redis granted to a request sent then is still worth something. */
export function isTrusted(table: LockTable, sentAt: Instant): boolean {
  return elapsedMs(table, sentAt) < TRUST * table.ttlMs;
}
