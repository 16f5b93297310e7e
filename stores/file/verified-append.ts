import { createBufferBudget } from '../buffer-budget.ts';
import { systemEnvironment } from '../environment.ts';
import { createVerifiedAppend, type VerifiedAppend } from '../verified-body.ts';
import type { WriteBudget } from './write-budget.ts';

/** A body with a checksum that is longer than this waits for its verification on the disk. */
const MAX_IN_MEMORY_BYTES = 1024 * 1024;
/** Of the memory that is free, so that bodies without a checksum find some too. */
const MEMORY_PART = 1 / 2;
/** How often the spool looks for holders that would give it back: there are none. */
const YIELD_MS = 1000;

/** Bodies that wait for their verification, for a store of files. */
export function createFileVerifiedAppend(options: {
  memory: WriteBudget;
  spoolBudgetBytes: number;
  /** Of the spooled body of an upload: on the file system of the uploads. */
  pathFor(id: string): string;
}): VerifiedAppend {
  const { memory, spoolBudgetBytes, pathFor } = options;
  return createVerifiedAppend({
    maxMemoryBytes: MAX_IN_MEMORY_BYTES,
    tryMemory(bytes) {
      if (bytes > memory.freeBytes * MEMORY_PART) return undefined;
      memory.take(bytes);
      return () => memory.give(bytes);
    },
    spool: {
      budget: createBufferBudget({
        totalBytes: spoolBudgetBytes,
        environment: systemEnvironment,
        yieldIdleMs: YIELD_MS,
        yieldAfterMs: YIELD_MS,
      }),
      pathFor,
    },
  });
}
