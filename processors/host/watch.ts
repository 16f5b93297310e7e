import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ProcessorError } from '../types.ts';
import { residentBytes, residentBytesOfGroup } from './process-memory.ts';

export interface WatchLimits {
  /** Undefined: as long as it takes. */
  timeMs?: number;
  /** Resident bytes of the process and all programs that it started. */
  memoryBytes: number;
  /** A directory in which it may leave so many bytes. */
  output?: { directory: string; bytes: number };
}

export interface Watcher {
  /** Most that was seen. */
  peakMemoryBytes(): number;
  stop(): void;
}

/** A decoder fills some 100 MB between two looks. */
const MEMORY_INTERVAL_MS = 50;
/** Looks that cost more: at the programs it started, and at what it has written. */
const SLOW_INTERVAL_MS = 500;
/**
 * Programs have temporary files there, and what they make may turn out not to be worth keeping: while they run the
 * limit is only there to spare the disk. What is left in the end is counted strictly.
 */
const mostWhileRunning = (limit: number) => limit * 2 + 64 * 1024 ** 2;

/** Calls `onBroken` with a ProcessorError as soon as a limit is broken. */
export function watch(pid: number, limits: WatchLimits, onBroken: (error: ProcessorError) => void): Watcher {
  let peak = 0;
  const checkMemory = (bytes = 0) => {
    peak = Math.max(peak, bytes);
    if (bytes > limits.memoryBytes) {
      onBroken(
        new ProcessorError(
          'out_of_memory',
          `The preview took more than ${limits.memoryBytes} bytes of memory.`,
        ),
      );
    }
  };
  const { timeMs, output } = limits;
  const timeout =
    timeMs === undefined
      ? undefined
      : setTimeout(
          () => onBroken(new ProcessorError('timeout', `The preview took longer than ${timeMs} ms.`)),
          timeMs,
        );
  const memory = setInterval(() => checkMemory(residentBytes(pid)), MEMORY_INTERVAL_MS);
  const slow = setInterval(() => {
    checkMemory(residentBytesOfGroup(pid));
    if (output === undefined) return;
    bytesIn(output.directory).then((bytes) => {
      if (bytes > mostWhileRunning(output.bytes)) onBroken(tooMuchOutput(output.bytes));
    }, ignoreGone);
  }, SLOW_INTERVAL_MS);
  return {
    peakMemoryBytes: () => peak,
    stop() {
      clearTimeout(timeout);
      clearInterval(memory);
      clearInterval(slow);
    },
  };
}

export function tooMuchOutput(limit: number): ProcessorError {
  return new ProcessorError('too_large', `The previews have more than ${limit} bytes.`);
}

/** Of all files in a directory and below. */
export async function bytesIn(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Temporary files come and go between listing and looking; the next look counts again. */
function ignoreGone(): void {}
