import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type BufferBudget, createBufferBudget, type Reservation } from '../../stores/buffer-budget.ts';
import { systemEnvironment } from '../../stores/environment.ts';

/** A directory that nobody has touched for so long belongs to a process that died. */
const STALE_AFTER_MS = 10 * 60 * 1000;
/** How often a directory in use says that it is. */
const TOUCH_INTERVAL_MS = 60_000;
const DIRECTORY_NAME = /^landfall-job-[0-9a-f]{24}$/;

/** Disk space for work that is under way: copies of originals, and previews that are not stored yet. */
export interface Scratch {
  /** Most bytes of a copy. */
  readonly budgetBytes: number;
  /** A new, empty directory. */
  open(): Promise<ScratchDirectory>;
  /** Waits for room. Rejects with the signal's reason. More than the budget is a RangeError. */
  reserve(bytes: number, signal: AbortSignal): Promise<Reservation>;
  /** Removes what crashed processes left behind, here and nowhere else. Resolves with their number. */
  sweep(): Promise<number>;
}

export interface ScratchDirectory {
  readonly path: string;
  /** Removes it and everything in it. */
  remove(): Promise<void>;
}

export interface ScratchOptions {
  /** May be shared with other processes and other uses: ours are known by their names. */
  directory: string;
  budgetBytes: number;
  now?: () => number;
}

export function createScratch({ directory, budgetBytes, now = Date.now }: ScratchOptions): Scratch {
  // Whoever holds some is at work and ends by itself: nobody is asked to yield.
  const budget: BufferBudget = createBufferBudget({
    totalBytes: budgetBytes,
    environment: systemEnvironment,
    yieldIdleMs: STALE_AFTER_MS,
    yieldAfterMs: STALE_AFTER_MS,
  });

  return {
    budgetBytes,

    async open() {
      const path = join(directory, `landfall-job-${randomBytes(12).toString('hex')}`);
      await mkdir(path, { recursive: true, mode: 0o700 });
      const touch = () => utimes(path, new Date(), new Date()).catch(() => {});
      const timer = setInterval(touch, TOUCH_INTERVAL_MS);
      timer.unref();
      return {
        path,
        async remove() {
          clearInterval(timer);
          await rm(path, { recursive: true, force: true });
        },
      };
    },

    async reserve(bytes, signal) {
      const reservation = await budget.reserve(bytes, signal);
      if (reservation === undefined) throw signal.reason;
      return reservation;
    },

    async sweep() {
      let removed = 0;
      for (const name of await namesIn(directory)) {
        if (!DIRECTORY_NAME.test(name)) continue;
        const path = join(directory, name);
        const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
        if (now() - mtimeMs < STALE_AFTER_MS) continue;
        await rm(path, { recursive: true, force: true });
        removed += 1;
      }
      return removed;
    },
  };
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
