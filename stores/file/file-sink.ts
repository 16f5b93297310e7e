import fs from 'node:fs';
import type { ChunkSink } from '../body-pump.ts';
import { StoreError } from '../errors.ts';
import type { WriteBudget } from './write-budget.ts';

/** One writev per this many bytes: larger batches gain nothing, smaller ones cost more system calls. */
export const BATCH_BYTES = 256 * 1024;
/** Stop the socket when this much waits for the disk, or as much as the budget has left… */
const PAUSE_BYTES = 4 * 1024 * 1024;
/** …and let it run again when only this part of that does. */
const RESUME_PART = 1 / 4;

export interface FileSinkOptions {
  fd: number;
  /** Position of the first byte. */
  position: number;
  /**
   * Give a chunk's memory back as soon as it is written, instead of leaving it to the garbage collector. Only for
   * chunks that nobody else holds: those of a real HTTP/1 socket.
   */
  releaseMemory: boolean;
  /** Shared with all other sinks. */
  budget: WriteBudget;
}

/**
 * Writes chunks to a file, in order, from a position on: one writev in flight, short writes continued.
 *
 * A crash leaves a prefix of what was taken, because nothing is written ahead of anything else. After a failure
 * (disk full) the file may be longer than the last offset that was acknowledged; the bytes are the right ones.
 * Always `abandon()` it before the file is closed.
 */
export class FileSink implements ChunkSink {
  onDrain: (() => void) | undefined;
  onFailure: ((error: unknown) => void) | undefined;
  readonly #fd: number;
  readonly #releaseMemory: boolean;
  readonly #budget: WriteBudget;
  #position: number;
  #queue: Buffer[] = [];
  /** Of the queue and of the batch that is being written. */
  #queuedBytes = 0;
  #isWriting = false;
  /** We said that we want no more. */
  #isHoldingBack = false;
  #isAbandoned = false;
  #failure: unknown;
  #whenIdle: { resolve: () => void; reject: (error: unknown) => void } | undefined;

  constructor(options: FileSinkOptions) {
    this.#fd = options.fd;
    this.#position = options.position;
    this.#releaseMemory = options.releaseMemory;
    this.#budget = options.budget;
  }

  /** Everything below this position is in the file. */
  get position(): number {
    return this.#position;
  }

  write(chunk: Buffer): boolean {
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    this.#budget.take(chunk.length);
    this.#isHoldingBack = this.#queuedBytes >= this.#pauseBytes();
    if (!this.#isWriting) this.#writeIfWorthwhile();
    return !this.#isHoldingBack;
  }

  /** Resolves when everything taken is in the file; rejects with the failure that prevented it. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      if (!this.#isWriting && this.#queue.length === 0) return resolve();
      this.#whenIdle = { resolve, reject };
      if (!this.#isWriting) this.#writeBatch();
    });
  }

  /**
   * Drops what is not written yet (nothing, after `flush`). Resolves when we do not use the descriptor any more: a
   * write that is still on its way to a closed descriptor would go to whatever file gets that number next.
   */
  abandon(): Promise<void> {
    this.#isAbandoned = true;
    return new Promise((resolve) => {
      const finish = () => {
        this.#drop();
        resolve();
      };
      if (this.#isWriting) this.#whenIdle = { resolve: finish, reject: finish };
      else finish();
    });
  }

  #pauseBytes(): number {
    return Math.min(PAUSE_BYTES, this.#budget.freeBytes);
  }

  /** While the socket is held back, whatever there is: nothing else would let it run again. */
  #writeIfWorthwhile(): void {
    if (this.#queue.length === 0) return;
    if (this.#queuedBytes >= BATCH_BYTES || this.#isHoldingBack || this.#whenIdle) this.#writeBatch();
  }

  #writeBatch(): void {
    const batch = this.#queue;
    this.#queue = [];
    this.#isWriting = true;
    this.#write(batch, batch);
  }

  #write(batch: Buffer[], rest: Buffer[]): void {
    fs.writev(this.#fd, rest, this.#position, (error, written) => {
      if (error) return this.#fail(error);
      this.#position += written;
      this.#queuedBytes -= written;
      this.#budget.give(written);
      const left = withoutFirstBytes(rest, written);
      if (left.length > 0 && !this.#isAbandoned) return this.#write(batch, left);
      if (this.#releaseMemory) for (const chunk of batch) releaseChunk(chunk);
      this.#isWriting = false;
      this.#afterBatch();
    });
  }

  #afterBatch(): void {
    if (this.#isAbandoned || this.#queue.length === 0) this.#whenIdle?.resolve();
    if (this.#isAbandoned) return;
    const mayGoOn = this.#isHoldingBack && this.#queuedBytes <= this.#pauseBytes() * RESUME_PART;
    if (mayGoOn) this.#isHoldingBack = false;
    this.#writeIfWorthwhile();
    if (mayGoOn) this.onDrain?.();
  }

  #fail(error: NodeJS.ErrnoException): void {
    const isFull = error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'EFBIG';
    this.#failure = new StoreError(
      isFull ? 'storage_full' : 'store_unavailable',
      `writing failed: ${error.code ?? error.message}`,
      { cause: error, retryable: !isFull },
    );
    this.#isWriting = false;
    this.#drop();
    this.#whenIdle?.reject(this.#failure);
    this.onFailure?.(this.#failure);
  }

  #drop(): void {
    this.#budget.give(this.#queuedBytes);
    this.#queuedBytes = 0;
    this.#queue = [];
  }
}

function withoutFirstBytes(chunks: Buffer[], count: number): Buffer[] {
  let index = 0;
  let toSkip = count;
  while (index < chunks.length) {
    const length = (chunks[index] as Buffer).length;
    if (toSkip < length) break;
    toSkip -= length;
    index += 1;
  }
  if (index === chunks.length) return [];
  const rest = chunks.slice(index);
  if (toSkip > 0) rest[0] = (rest[0] as Buffer).subarray(toSkip);
  return rest;
}

/**
 * Frees a chunk's memory now. Half of what an upload costs in Node is the collection of network buffers; each
 * one is ours alone once it is written, provided that it owns its whole ArrayBuffer (slices of a pool do not).
 */
function releaseChunk(chunk: Buffer): void {
  const memory = chunk.buffer;
  if (chunk.byteOffset === 0 && chunk.byteLength === memory.byteLength && memory instanceof ArrayBuffer) {
    memory.transfer(0);
  }
}
