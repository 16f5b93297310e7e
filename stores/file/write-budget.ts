/**
 * Memory for bytes that wait for the disk, shared by all uploads of a store.
 *
 * Every upload may hold as much as is still free: with n busy uploads each settles at 1/(n+1) of the total, and a
 * newcomer always finds room. When nothing is free, an upload is written chunk by chunk: that is slower, but no
 * upload waits for another one, so none waits for ever.
 */
export class WriteBudget {
  readonly #totalBytes: number;
  #heldBytes = 0;

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
  }

  /** May be more than the total: a chunk that has arrived is always taken. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  get freeBytes(): number {
    return Math.max(0, this.#totalBytes - this.#heldBytes);
  }

  take(bytes: number): void {
    this.#heldBytes += bytes;
  }

  give(bytes: number): void {
    this.#heldBytes -= bytes;
  }
}
