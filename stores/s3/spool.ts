import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { BufferBudget, Reservation } from '../buffer-budget.ts';
import { StoreError } from '../errors.ts';
import type { PartBuffer } from './part-buffer.ts';
import type { PartBody } from './port.ts';

/**
 * Gathers parts that are too large for memory in files, under a budget of their own. A crash leaves files
 * behind: they were never acknowledged (a request that ends stores what it has as a tail in the bucket), so a
 * process removes old ones when it starts.
 */
export interface Spool {
  readonly budget: BufferBudget;
  createPartBuffer(reservation: Reservation): PartBuffer;
  /** For a file that is nobody's yet. */
  newPath(): string;
  /** Removes what crashed processes left behind. */
  sweep(): Promise<number>;
}

export interface SpoolOptions {
  directory: string;
  budget: BufferBudget;
  /** Files that were not written to for so long belong to nobody. */
  staleAfterMs: number;
  nowMs: () => number;
  randomHex: (bytes: number) => string;
}

const FILE_NAME = /^landfall-part-[0-9a-f]{24}$/;
/** The socket is held back while this much waits for the disk. */
const PAUSE_BYTES = 4 * 1024 * 1024;

export function createSpool(options: SpoolOptions): Spool {
  const { directory, budget } = options;
  const newPath = () => path.join(directory, `landfall-part-${options.randomHex(12)}`);
  return {
    budget,
    newPath,
    createPartBuffer: (reservation) => new SpoolPartBuffer(newPath(), reservation),
    async sweep() {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      let removed = 0;
      for (const name of await readdir(directory)) {
        if (!FILE_NAME.test(name)) continue;
        const file = path.join(directory, name);
        const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
        if (options.nowMs() - mtimeMs < options.staleAfterMs) continue;
        await rm(file, { force: true });
        removed += 1;
      }
      return removed;
    },
  };
}

class SpoolPartBuffer implements PartBuffer {
  onDrain: (() => void) | undefined;
  readonly capacity: number;
  readonly reservation: Reservation;
  readonly #file: string;
  #handle: Promise<FileHandle> | undefined;
  #queue: Promise<void> = Promise.resolve();
  #queuedBytes = 0;
  #length = 0;
  #failure: unknown;
  #isDiscarded = false;

  constructor(file: string, reservation: Reservation) {
    this.#file = file;
    this.reservation = reservation;
    this.capacity = reservation.bytes;
  }

  get length(): number {
    return this.#length;
  }

  append(bytes: Buffer): boolean {
    if (bytes.length > this.capacity - this.#length) throw new RangeError('more than the part holds');
    const position = this.#length;
    this.#length += bytes.length;
    this.#queuedBytes += bytes.length;
    this.#queue = this.#queue.then(() => this.#write(bytes, position));
    return this.#queuedBytes < PAUSE_BYTES;
  }

  async reset(): Promise<void> {
    await this.#queue;
    this.#failure = undefined;
    this.#length = 0;
  }

  async body(): Promise<PartBody> {
    await this.#flush();
    const length = this.#length;
    return {
      length,
      open: () => createReadStream(this.#file, { end: Math.max(0, length - 1), highWaterMark: 256 * 1024 }),
    };
  }

  async hash(): Promise<string> {
    await this.#flush();
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(this.#file, { end: this.#length - 1 })) hash.update(chunk);
    return hash.digest('hex').slice(0, 16);
  }

  taint(): void {
    // A file is not used again anyway: an old request goes on reading what it has open.
  }

  discard(): void {
    if (this.#isDiscarded) return;
    this.#isDiscarded = true;
    const cleanUp = async () => {
      await this.#queue;
      await (await this.#handle)?.close();
      await rm(this.#file, { force: true });
    };
    cleanUp()
      // What could not be removed is removed when a process starts.
      .catch(() => undefined)
      .finally(() => this.reservation.release());
  }

  async #flush(): Promise<void> {
    await this.#queue;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #write(bytes: Buffer, position: number): Promise<void> {
    try {
      if (this.#failure === undefined && !this.#isDiscarded) {
        this.#handle ??= open(this.#file, 'w', 0o600);
        const handle = await this.#handle;
        for (let done = 0; done < bytes.length; ) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
          done += bytesWritten;
        }
      }
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      const isFull = code === 'ENOSPC' || code === 'EDQUOT';
      const message = `writing to the spool directory failed (${code ?? 'unknown'})`;
      this.#failure = new StoreError(isFull ? 'storage_full' : 'store_unavailable', message, {
        cause,
        retryable: true,
      });
    }
    this.#queuedBytes -= bytes.length;
    if (this.#queuedBytes <= PAUSE_BYTES / 4) this.onDrain?.();
  }
}
