import type { PartBuffer } from './part-buffer.ts';

/**
 * Keeps the buffer of a tail after it was stored, so that the next request in this process carries on without
 * reading it back. A tail's name contains a hash of its bytes: what is kept under a name is right for whoever
 * finds that name in the bucket. It is only a saving, so the budget may take it back at any time.
 */
export interface TailMemory {
  /** Takes over the buffer and its reservation; all of it is the tail. */
  keep(uploadId: string, tailName: string, buffer: PartBuffer): void;
  /** Hands the buffer over to the caller, if it is the right one. */
  take(uploadId: string, tailName: string): PartBuffer | undefined;
  drop(uploadId: string): void;
  clear(): void;
}

export function createTailMemory(): TailMemory {
  const kept = new Map<string, { tailName: string; buffer: PartBuffer }>();

  function remove(uploadId: string): { tailName: string; buffer: PartBuffer } | undefined {
    const entry = kept.get(uploadId);
    kept.delete(uploadId);
    if (entry?.buffer.reservation !== undefined) entry.buffer.reservation.onEvict = undefined;
    return entry;
  }

  return {
    keep(uploadId, tailName, buffer) {
      remove(uploadId)?.buffer.discard();
      if (buffer.reservation === undefined) return buffer.discard();
      kept.set(uploadId, { tailName, buffer });
      buffer.reservation.touch();
      buffer.reservation.onEvict = () => remove(uploadId)?.buffer.discard();
    },
    take(uploadId, tailName) {
      const entry = remove(uploadId);
      if (entry === undefined || entry.tailName === tailName) return entry?.buffer;
      entry.buffer.discard();
      return undefined;
    },
    drop: (uploadId) => remove(uploadId)?.buffer.discard(),
    clear() {
      for (const uploadId of [...kept.keys()]) remove(uploadId)?.buffer.discard();
    },
  };
}
