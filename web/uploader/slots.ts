/** Somebody who waits for a slot. Asked for its priority whenever one is free, so that it may change meanwhile. */
interface Waiter {
  priority: () => number;
  give: () => void;
}

export interface Slots {
  /**
   * Resolves with the function that gives the slot back once one is free and nobody with a higher priority waits;
   * among equals, first come, first served. Rejects with the signal's reason.
   */
  take(priority: () => number, signal: AbortSignal): Promise<() => void>;
  /** More of them are given out at once; fewer, as they come back. */
  setLimit(limit: number): void;
}

/** What may run at once, of all uploads together. */
export function createSlots(initialLimit: number): Slots {
  let limit = initialLimit;
  let taken = 0;
  let waiters: Waiter[] = [];

  const giveOut = () => {
    while (taken < limit && waiters.length > 0) {
      const next = waiters.reduce((best, waiter) => (waiter.priority() > best.priority() ? waiter : best));
      waiters = waiters.filter((waiter) => waiter !== next);
      taken += 1;
      next.give();
    }
  };
  const giveBack = () => {
    let isBack = false;
    return () => {
      if (isBack) return;
      isBack = true;
      taken -= 1;
      giveOut();
    };
  };

  return {
    take(priority, signal) {
      return new Promise((resolve, reject) => {
        signal.throwIfAborted();
        const onAbort = () => {
          waiters = waiters.filter((waiter) => waiter !== self);
          reject(signal.reason);
        };
        const self: Waiter = {
          priority,
          give: () => {
            signal.removeEventListener('abort', onAbort);
            resolve(giveBack());
          },
        };
        signal.addEventListener('abort', onAbort, { once: true });
        waiters.push(self);
        giveOut();
      });
    },
    setLimit(newLimit) {
      limit = newLimit;
      giveOut();
    },
  };
}
