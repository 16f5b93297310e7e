import { SNIFFED_BYTES } from '../../processors/sniff.ts';

/** Uploads whose first bytes are kept between two requests; past that the oldest is read again when it is finished. */
const MAX_KEPT = 2_000;

/**
 * The first bytes of uploads that are on their way: they say what an upload is, and at its finish it need not be read
 * again for that. One that is received by one request never gets here: its hold has them.
 */
export class FirstBytes {
  readonly #kept = new Map<string, Buffer>();

  /** Bytes 0 to `offset` (at most SNIFFED_BYTES of them); undefined where this process has not seen them. */
  take(id: string, offset: number): Buffer | undefined {
    if (offset === 0) return Buffer.alloc(0);
    const head = this.#kept.get(id);
    this.#kept.delete(id);
    return head?.length === Math.min(offset, SNIFFED_BYTES) ? head : undefined;
  }

  put(id: string, head: Buffer): void {
    this.#kept.set(id, head);
    if (this.#kept.size > MAX_KEPT) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
  }

  drop(id: string): void {
    this.#kept.delete(id);
  }
}

/** `head`, and as much of the next bytes as it lacks. The chunk's memory may be gone afterwards. */
export function extendHead(head: Buffer, chunk: Buffer): Buffer {
  const missing = SNIFFED_BYTES - head.length;
  return missing <= 0 ? head : Buffer.concat([head, chunk.subarray(0, missing)]);
}
