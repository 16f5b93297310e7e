import type { BufferBudget } from '../buffer-budget.ts';
import { createVerifiedAppend, type VerifiedAppend } from '../verified-body.ts';

/** A longer body waits in the spool, where there is one: memory is for those of clients that send small chunks. */
const MAX_IN_MEMORY_BYTES = 16 * 1024 * 1024;

/**
 * Bodies that wait for their verification. In memory they take a share of the buffer budget, at once or not at all:
 * what they leave of it is enough for any part that they wait for afterwards, so that holding one share while waiting
 * for another part of the same budget always comes to an end.
 */
export function createBodyVerification(options: {
  memory: BufferBudget;
  /** The share. */
  mostMemoryBytes: number;
  spool: { budget: BufferBudget; newPath(): string } | undefined;
}): { append: VerifiedAppend; close(): void } {
  const { memory, mostMemoryBytes, spool } = options;
  let heldBytes = 0;
  const append = createVerifiedAppend({
    maxMemoryBytes: spool === undefined ? mostMemoryBytes : Math.min(mostMemoryBytes, MAX_IN_MEMORY_BYTES),
    tryMemory(bytes) {
      const reservation = heldBytes + bytes <= mostMemoryBytes ? memory.tryReserve(bytes) : undefined;
      if (reservation === undefined) return undefined;
      heldBytes += bytes;
      return () => {
        heldBytes -= bytes;
        reservation.release();
      };
    },
    spool: spool && { budget: spool.budget, pathFor: () => spool.newPath() },
  });
  return { append, close: () => spool?.budget.close() };
}
