import type { BufferBudget, Reservation } from '../buffer-budget.ts';
import type { Environment } from '../environment.ts';
import { hashTail } from './grid.ts';
import type { PartBody } from './port.ts';

/**
 * A part (or tail) while it is gathered, and the budget that pays for it. In memory bytes are copied in as they
 * arrive, so that a network chunk's memory can be freed at once and S3 gets one piece, which a retry can send
 * again; `spool.ts` has the form on disk for parts that are too large for that.
 */
export interface PartBuffer {
  readonly capacity: number;
  /** Bytes taken so far. */
  readonly length: number;
  /** Undefined for memory that was there anyway (what is left of the last network chunk). */
  readonly reservation: Reservation | undefined;
  /** Takes bytes, at most up to `capacity`. False: call again only after `onDrain`. */
  append(bytes: Buffer): boolean;
  onDrain: (() => void) | undefined;
  /** Forgets all bytes. */
  reset(): Promise<void>;
  /** What was taken, for S3. Throws storage_full or store_unavailable when it could not be kept. */
  body(): Promise<PartBody>;
  /** The hash that a tail of these bytes has in its name. */
  hash(): Promise<string>;
  /** A call that sends from here failed: its socket may still do so, so the memory is never used again. */
  taint(): void;
  /** Gives memory (or disk) and budget back. Safe to call twice. */
  discard(): void;
}

/** Memory of the same size, kept for the next part: fresh pages would cost a page fault per 4 KiB. */
export interface BufferPool {
  take(capacity: number): Buffer;
  /** Only for memory that nothing refers to any more, and before its reservation is released. */
  give(memory: Buffer): void;
  clear(): void;
}

/** Smaller ones are cheap to make. */
const POOLED_FROM_BYTES = 1024 * 1024;

/** Memory that nobody wanted for this long is given back to the system. */
const IDLE_MS = 2000;

/** What lies unused in the pool and what is reserved never exceed the budget together. */
export function createBufferPool(budget: BufferBudget, environment: Environment): BufferPool {
  const free: Buffer[] = [];
  let freeBytes = 0;
  /** The least that lay here since the last look: nobody needed that much. */
  let idleBytes = 0;
  let cancelTrim: (() => void) | undefined;
  const unusedBytes = () => Math.max(0, budget.totalBytes - budget.usedBytes);

  function trimTo(bytes: number): void {
    while (freeBytes > bytes) {
      const memory = free.shift() as Buffer;
      freeBytes -= memory.length;
      freeMemory(memory);
    }
  }

  function trimIdle(): void {
    trimTo(freeBytes - idleBytes);
    idleBytes = freeBytes;
    cancelTrim = freeBytes > 0 ? environment.setTimer(IDLE_MS, trimIdle) : undefined;
  }

  return {
    take(capacity) {
      const index = free.findLastIndex((memory) => memory.length === capacity);
      const [memory] = index >= 0 ? free.splice(index, 1) : [];
      if (memory !== undefined) freeBytes -= capacity;
      trimTo(unusedBytes());
      idleBytes = Math.min(idleBytes, freeBytes);
      return memory ?? Buffer.allocUnsafeSlow(capacity);
    },
    give(memory) {
      if (memory.length < POOLED_FROM_BYTES || freeBytes > unusedBytes()) return freeMemory(memory);
      free.push(memory);
      freeBytes += memory.length;
      cancelTrim ??= environment.setTimer(IDLE_MS, trimIdle);
    },
    clear() {
      trimTo(0);
      cancelTrim?.();
      cancelTrim = undefined;
    },
  };
}

export function createMemoryPartBuffer(pool: BufferPool, reservation: Reservation): PartBuffer {
  return new MemoryPartBuffer(pool.take(reservation.bytes), 0, pool, reservation);
}

/** A buffer around bytes that are in memory anyway and were not paid for. */
export function wrapAsPartBuffer(bytes: Buffer): PartBuffer {
  return new MemoryPartBuffer(bytes, bytes.length, undefined, undefined);
}

class MemoryPartBuffer implements PartBuffer {
  onDrain: (() => void) | undefined;
  readonly reservation: Reservation | undefined;
  readonly #pool: BufferPool | undefined;
  #memory: Buffer;
  #length: number;
  #isTainted = false;

  constructor(
    memory: Buffer,
    length: number,
    pool: BufferPool | undefined,
    reservation: Reservation | undefined,
  ) {
    this.#memory = memory;
    this.#length = length;
    this.#pool = pool;
    this.reservation = reservation;
  }

  get capacity(): number {
    return this.#memory.length;
  }

  get length(): number {
    return this.#length;
  }

  append(bytes: Buffer): boolean {
    if (bytes.length > this.#memory.length - this.#length) throw new RangeError('more than the part holds');
    bytes.copy(this.#memory, this.#length);
    this.#length += bytes.length;
    return true;
  }

  async reset(): Promise<void> {
    this.#length = 0;
  }

  async body(): Promise<Buffer> {
    return this.#memory.subarray(0, this.#length);
  }

  async hash(): Promise<string> {
    return hashTail(this.#memory.subarray(0, this.#length));
  }

  taint(): void {
    this.#isTainted = true;
  }

  discard(): void {
    const memory = this.#memory;
    this.#memory = NO_MEMORY;
    this.#length = 0;
    if (memory !== NO_MEMORY && this.#pool !== undefined && !this.#isTainted) this.#pool.give(memory);
    this.reservation?.release();
  }
}

const NO_MEMORY = Buffer.alloc(0);

/** Now, not when the garbage collector comes round: large buffers hardly press on it. */
function freeMemory(memory: Buffer): void {
  if (memory.buffer instanceof ArrayBuffer) memory.buffer.transfer(0);
}

/** Frees a network chunk whose bytes were copied, if it owns its whole memory (slices of a pool do not). */
export function releaseChunk(chunk: Buffer): void {
  if (chunk.byteOffset === 0 && chunk.byteLength === chunk.buffer.byteLength) freeMemory(chunk);
}
