import type { Environment } from './environment.ts';

/**
 * The one budget for memory (or spool space) in which parts are gathered. First come, first served. It cannot
 * deadlock, because of two rules that its users keep: nobody waits for budget while holding budget, and whoever
 * holds it ends in bounded time (an upload to S3 has a deadline, a kept tail can be evicted, and a buffer that
 * waits for a slow client yields when asked).
 */
export interface BufferBudget {
  readonly totalBytes: number;
  readonly usedBytes: number;
  /** The part of `usedBytes` that may be taken back at once. */
  readonly evictableBytes: number;
  readonly waiting: number;
  /**
   * Waits for `bytes`. Undefined when `signal` aborted first, or the budget was closed. Asking for more than the
   * whole budget is a mistake of the caller's: RangeError.
   */
  reserve(bytes: number, signal: AbortSignal): Promise<Reservation | undefined>;
  /** At once or not at all; never overtakes those who wait. */
  tryReserve(bytes: number): Reservation | undefined;
  /** Ends every wait. */
  close(): void;
}

export interface Reservation {
  readonly bytes: number;
  /** Safe to call twice. */
  release(): void;
  /** Says that bytes arrived for it: the least recently used one is asked first. */
  touch(): void;
  /** Set while it may be taken back at once: must call `release` before it returns. */
  onEvict: (() => void) | undefined;
  /** Set while its holder could write out what it has and give it back soon, if it were asked. */
  onYield: (() => void) | undefined;
}

export interface BudgetOptions {
  totalBytes: number;
  environment: Environment;
  /** A holder is asked to yield when no byte came for it for so long, and somebody waits… */
  yieldIdleMs: number;
  /** …or when it has held its reservation for so long. */
  yieldAfterMs: number;
}

interface Waiter {
  bytes: number;
  grant(reservation: Reservation | undefined): void;
}

interface Holding extends Reservation {
  grantedAtMs: number;
  touchedAtMs: number;
}

/** How often holders are looked at while somebody waits, at least. */
const PRESSURE_TICK_MS = 250;

export function createBufferBudget(options: BudgetOptions): BufferBudget {
  const { totalBytes, environment, yieldIdleMs, yieldAfterMs } = options;
  let usedBytes = 0;
  let isClosed = false;
  const waiters: Waiter[] = [];
  // In order of their last touch: the first is the least recently used.
  const holdings = new Set<Holding>();
  let cancelTick: (() => void) | undefined;

  function hold(bytes: number): Holding {
    usedBytes += bytes;
    const nowMs = environment.nowMs();
    const holding: Holding = {
      bytes,
      grantedAtMs: nowMs,
      touchedAtMs: nowMs,
      onEvict: undefined,
      onYield: undefined,
      release() {
        if (!holdings.delete(holding)) return;
        usedBytes -= bytes;
        serve();
      },
      touch() {
        holding.touchedAtMs = environment.nowMs();
      },
    };
    holdings.add(holding);
    return holding;
  }

  const evictable = () => [...holdings].filter((holding) => holding.onEvict !== undefined);

  function makeRoom(bytes: number): boolean {
    if (usedBytes + bytes <= totalBytes) return true;
    const candidates = evictable().sort((a, b) => a.touchedAtMs - b.touchedAtMs);
    const candidateBytes = candidates.reduce((sum, holding) => sum + holding.bytes, 0);
    if (usedBytes - candidateBytes + bytes > totalBytes) return false;
    for (const holding of candidates) {
      if (usedBytes + bytes <= totalBytes) break;
      // Released here, without serving the queue in between: the room is for the caller.
      if (holdings.delete(holding)) usedBytes -= holding.bytes;
      holding.onEvict?.();
    }
    return true;
  }

  function serve(): void {
    for (let first = waiters[0]; first !== undefined && makeRoom(first.bytes); first = waiters[0]) {
      waiters.shift();
      first.grant(hold(first.bytes));
    }
    if (waiters.length > 0 && cancelTick === undefined) {
      cancelTick = environment.setTimer(Math.min(PRESSURE_TICK_MS, yieldIdleMs), askToYield);
    }
  }

  function askToYield(): void {
    cancelTick = undefined;
    const first = waiters[0];
    if (first === undefined) return;
    const nowMs = environment.nowMs();
    const asked = [...holdings]
      .filter(
        (holding) =>
          holding.onYield !== undefined &&
          (nowMs - holding.touchedAtMs >= yieldIdleMs || nowMs - holding.grantedAtMs >= yieldAfterMs),
      )
      .sort((a, b) => a.touchedAtMs - b.touchedAtMs);
    let needed = first.bytes - (totalBytes - usedBytes);
    for (const holding of asked) {
      if (needed <= 0) break;
      needed -= holding.bytes;
      holding.onYield?.();
    }
    serve();
  }

  return {
    totalBytes,
    get usedBytes() {
      return usedBytes;
    },
    get evictableBytes() {
      return evictable().reduce((sum, holding) => sum + holding.bytes, 0);
    },
    get waiting() {
      return waiters.length;
    },
    reserve(bytes, signal) {
      if (bytes > totalBytes) throw new RangeError(`${bytes} bytes never fit into a budget of ${totalBytes}`);
      if (signal.aborted || isClosed) return Promise.resolve(undefined);
      if (waiters.length === 0 && makeRoom(bytes)) return Promise.resolve(hold(bytes));
      return new Promise((resolve) => {
        const onAbort = () => {
          const index = waiters.indexOf(waiter);
          if (index >= 0) waiters.splice(index, 1);
          resolve(undefined);
          serve();
        };
        const waiter: Waiter = {
          bytes,
          grant(reservation) {
            signal.removeEventListener('abort', onAbort);
            resolve(reservation);
          },
        };
        waiters.push(waiter);
        signal.addEventListener('abort', onAbort, { once: true });
        serve();
      });
    },
    tryReserve(bytes) {
      if (isClosed || waiters.length > 0 || !makeRoom(bytes)) return undefined;
      return hold(bytes);
    },
    close() {
      isClosed = true;
      cancelTick?.();
      for (const waiter of waiters.splice(0)) waiter.grant(undefined);
    },
  };
}
