import { createHash, type Hash } from 'node:crypto';

/** Uploads whose hash is kept between two requests; past that the oldest is hashed again from the store at the end. */
const MAX_KEPT = 10_000;

/**
 * SHA-256 states of uploads that are on their way, so that an upload whose requests all meet this process is
 * hashed while it streams in and need not be read again at its finish.
 *
 * A state is valid for exactly one offset. Whoever takes it must put it back with the new offset, or drop it:
 * after a failure nobody knows which of the hashed bytes were stored.
 */
export class RunningDigests {
  readonly #kept = new Map<string, { offset: number; hash: Hash }>();

  /** The state for continuing at `offset`: a new one at 0, undefined where this process has not seen all before it. */
  take(id: string, offset: number): Hash | undefined {
    const entry = this.#kept.get(id);
    this.#kept.delete(id);
    if (offset === 0) return createHash('sha256');
    return entry?.offset === offset ? entry.hash : undefined;
  }

  put(id: string, offset: number, hash: Hash): void {
    this.#kept.set(id, { offset, hash });
    if (this.#kept.size > MAX_KEPT) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
  }

  drop(id: string): void {
    this.#kept.delete(id);
  }
}
