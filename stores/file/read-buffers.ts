const LARGE_BYTES = 512 * 1024;
const SMALL_BYTES = 64 * 1024;

export interface ReadBuffers {
  /**
   * A buffer for the next `wantedBytes` (it may be smaller than that: read again). With `isReadAhead` undefined
   * when memory is short: whoever already has a chunk on its way must wait for that one instead.
   */
  take(wantedBytes: number, isReadAhead: boolean): Buffer | undefined;
  /** Hands back a buffer that nobody else refers to any more. */
  give(buffer: Buffer): void;
  /** Forgets a buffer that somebody may still refer to: it is never used again, the collector has it. */
  drop(buffer: Buffer): void;
}

/**
 * Memory for sending originals, shared by all downloads of a store and bounded.
 *
 * A chunk of 512 KiB costs a third of the CPU per byte of the 64 KiB chunks of a stream, but a slow client keeps
 * its chunks until its socket takes them. So at most `largeCount` large buffers exist; the second half of them goes
 * only to sends that have none (no read-ahead), and past that a send gets one small buffer at a time. A hundred
 * stalled downloads hold 32 x 512 KiB + 68 x 64 KiB = 20 MiB, not 100. Buffers change hands after every chunk, so
 * a fast download soon finds a large one again.
 *
 * @param options.largeCount most buffers of 512 KiB, in use and kept
 * @param options.smallKept idle buffers of 64 KiB that are kept
 */
export function createReadBuffers(options: { largeCount?: number; smallKept?: number } = {}): ReadBuffers {
  const { largeCount = 32, smallKept = 32 } = options;
  const largeIdle: Buffer[] = [];
  const smallIdle: Buffer[] = [];
  let largeInUse = 0;

  return {
    take(wantedBytes, isReadAhead) {
      if (isReadAhead && largeInUse >= largeCount / 2) return undefined;
      if (wantedBytes > SMALL_BYTES && largeInUse < largeCount) {
        largeInUse += 1;
        return largeIdle.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
      }
      return smallIdle.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
    },
    give(buffer) {
      if (buffer.length === LARGE_BYTES) {
        largeInUse -= 1;
        largeIdle.push(buffer);
      } else if (smallIdle.length < smallKept) {
        smallIdle.push(buffer);
      }
    },
    drop(buffer) {
      if (buffer.length === LARGE_BYTES) largeInUse -= 1;
    },
  };
}

/** Fresh memory for every chunk, for targets that keep a chunk after they called back (a PassThrough, a test). */
export const freshBuffers: ReadBuffers = {
  take: (wantedBytes) => Buffer.allocUnsafeSlow(Math.min(wantedBytes, LARGE_BYTES)),
  give: () => {},
  drop: () => {},
};
