/** A fixed number of things, of which each is used by one at a time. */
export interface Slots<T> {
  readonly all: readonly T[];
  /** Waits for its turn, first come first served. @throws the signal's reason */
  take(signal: AbortSignal): Promise<T>;
  /** @param isWarm it is the one to be used next */
  giveBack(slot: T, isWarm: boolean): void;
  /** Resolves when none is in use and nobody waits. */
  drained(): Promise<void>;
}

export function createSlots<T>(all: readonly T[]): Slots<T> {
  const free = [...all];
  const waiting: ((slot: T) => void)[] = [];
  const draining: (() => void)[] = [];
  return {
    all,
    async take(signal) {
      signal.throwIfAborted();
      const slot = free.pop();
      if (slot !== undefined) return slot;
      const { promise, resolve, reject } = Promise.withResolvers<T>();
      waiting.push(resolve);
      const onAbort = () => {
        const position = waiting.indexOf(resolve);
        // It was served in this very moment: its user has the slot, and sees the signal.
        if (position === -1) return;
        waiting.splice(position, 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      return promise.finally(() => signal.removeEventListener('abort', onAbort));
    },
    giveBack(slot, isWarm) {
      const next = waiting.shift();
      if (next !== undefined) {
        next(slot);
        return;
      }
      if (isWarm) free.push(slot);
      else free.unshift(slot);
      if (free.length === all.length) for (const resolve of draining.splice(0)) resolve();
    },
    async drained() {
      if (free.length === all.length) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      draining.push(resolve);
      await promise;
    },
  };
}
