import type { ChunkSink } from '../body-pump.ts';
import type { Reservation } from '../buffer-budget.ts';
import { StoreError } from '../errors.ts';
import type { StoreContext } from './context.ts';
import { expectedPartSize, type Grid, type Tail } from './grid.ts';
import type { InfoVersion } from './info.ts';
import { type PartBuffer, releaseChunk, wrapAsPartBuffer } from './part-buffer.ts';
import type { ListedPart } from './port.ts';
import { loadTail, recordMultipart, storePart, storeTail } from './stored-bytes.ts';

export interface GridSinkOptions {
  context: StoreContext;
  version: InfoVersion;
  grid: Grid;
  /** Parts that are stored: the next byte belongs to the part after them. */
  partCount: number;
  /** The tail that is stored behind those parts, and whose bytes `buffer` holds. */
  tail: Tail | undefined;
  buffer: PartBuffer;
  lost: AbortSignal;
  /** Free a chunk's memory as soon as its bytes are copied: only for chunks that nobody else holds. */
  releaseMemory: boolean;
}

/**
 * Gathers a body into parts and stores them, several at a time, in memory that the budget paid for.
 *
 * There is at most one buffer being filled. When it is full its upload starts and another buffer is tried for; if
 * there is none, the socket is held back until a part of our own is stored, or, when none is on its way (so that
 * we hold nothing), until the budget grants one. When the budget asks for it, what has been gathered is written
 * out as a tail and given back; the next byte then waits its turn.
 */
export class GridSink implements ChunkSink {
  onDrain: (() => void) | undefined;
  onFailure: ((error: unknown) => void) | undefined;
  /** Parts that this sink stored. */
  readonly stored: ListedPart[] = [];
  /** Tails that this sink stored and that something longer has covered since. */
  readonly coveredTails: string[] = [];
  version: InfoVersion;
  readonly #context: StoreContext;
  readonly #grid: Grid;
  readonly #lost: AbortSignal;
  readonly #releaseMemory: boolean;
  readonly #uploads = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #filling: PartBuffer | undefined;
  #tail: Tail | undefined;
  /** Parts stored, and parts on their way. */
  #startedParts: number;
  /** What is left of the last chunk, while there is no buffer for it. */
  #left: Buffer | undefined;
  /** The one task that acquires a buffer, or writes one out: while it runs the sink takes nothing. */
  #task: Promise<void> | undefined;
  #failure: unknown;
  #recording: Promise<void> | undefined;

  constructor(options: GridSinkOptions) {
    this.#context = options.context;
    this.version = options.version;
    this.#grid = options.grid;
    this.#lost = options.lost;
    this.#releaseMemory = options.releaseMemory;
    this.#startedParts = options.partCount;
    this.#tail = options.tail;
    this.#fillFrom(options.buffer);
  }

  write(chunk: Buffer): boolean {
    if (this.#failure !== undefined) return false;
    // The memory of what is left was handed to us too; it is freed when it has been copied.
    this.#left = this.#left === undefined ? chunk : Buffer.concat([this.#left, chunk]);
    return this.#take();
  }

  /**
   * Stores what is still in memory. Bytes that have no buffer yet wait for one until `signal` aborts; then they
   * are dropped (they were not acknowledged). Rejects with the first failure.
   */
  async finish(signal: AbortSignal): Promise<{ tail: Tail | undefined; partCount: number }> {
    const stop = () => this.#stop.abort();
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    while (this.#task !== undefined) await this.#task;
    signal.removeEventListener('abort', stop);
    if (this.#failure === undefined && this.#left !== undefined) await this.#storeLeft();
    await this.#drain();
    if (this.#failure === undefined && !this.#lost.aborted) {
      await this.#storeTail().catch((error: unknown) => this.#fail(error));
    }
    if (this.#failure !== undefined) throw this.#failure;
    return { tail: this.#tail, partCount: this.#startedParts };
  }

  /** The buffer that holds the tail, for whoever comes next. */
  takeBuffer(): PartBuffer | undefined {
    const buffer = this.#filling;
    if (buffer?.reservation !== undefined) buffer.reservation.onYield = undefined;
    this.#filling = undefined;
    return buffer;
  }

  /** Waits for our own calls to end (they are bounded) and gives everything back. */
  async abandon(): Promise<void> {
    this.#stop.abort();
    while (this.#task !== undefined) await this.#task;
    await this.#drain();
    this.takeBuffer()?.discard();
    this.#left = undefined;
  }

  get #base(): number {
    return this.#startedParts * this.#grid.partSize;
  }

  /** Moves what is left of the last chunk into the buffer, and full buffers on their way. */
  #take(): boolean {
    while (this.#left !== undefined && this.#task === undefined && this.#failure === undefined) {
      const buffer = this.#filling;
      if (buffer === undefined) {
        if (this.#stop.signal.aborted || this.#lost.aborted) return false;
        this.#run(() => this.#acquire());
        continue;
      }
      const room = this.#expectedSize() - buffer.length;
      const piece = this.#left.length <= room ? this.#left : this.#left.subarray(0, room);
      const takesMore = buffer.append(piece);
      buffer.reservation?.touch();
      this.#advanceLeft(piece.length);
      if (buffer.length === this.#expectedSize()) this.#startPart(buffer);
      else if (!takesMore) return false;
    }
    return this.#left === undefined && this.#failure === undefined;
  }

  #advanceLeft(length: number): void {
    const left = this.#left as Buffer;
    if (length < left.length) {
      this.#left = left.subarray(length);
      return;
    }
    this.#left = undefined;
    // Only a chunk that was taken whole owns its memory; the rest of one that was split is collected.
    if (this.#releaseMemory) releaseChunk(left);
  }

  #expectedSize(): number {
    return expectedPartSize(this.#grid, this.#startedParts + 1);
  }

  #startPart(buffer: PartBuffer): void {
    this.takeBuffer();
    this.#startedParts += 1;
    const partNumber = this.#startedParts;
    this.#coverTail(undefined);
    const upload = this.#storePart(partNumber, buffer)
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        buffer.discard();
        this.#uploads.delete(upload);
      });
    this.#uploads.add(upload);
  }

  async #storePart(partNumber: number, buffer: PartBuffer): Promise<void> {
    await this.#recordMultipart();
    this.stored.push(await storePart(this.#context, this.version.info, partNumber, buffer, this.#lost));
  }

  /** P and the multipart id are durable before the first byte of the upload is stored. */
  #recordMultipart(): Promise<void> {
    if (this.version.info.multipartId !== null) return Promise.resolve();
    this.#recording ??= recordMultipart(this.#context, this.version, this.#grid.partSize).then((version) => {
      this.version = version;
    });
    return this.#recording;
  }

  #run(task: () => Promise<void>): void {
    this.#task = task()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#task = undefined;
        if (this.#take()) this.onDrain?.();
      });
  }

  /** A buffer for the next part: at once if the budget has one, else after everything we hold was given back. */
  async #acquire(): Promise<void> {
    const { partSize } = this.#grid;
    const budget = this.#context.budgetFor(partSize);
    const bytes = this.#expectedSize();
    let reservation: Reservation | undefined;
    while (reservation === undefined) {
      if (this.#stop.signal.aborted || this.#lost.aborted || this.#failure !== undefined) return;
      if (this.#uploads.size < this.#context.partsInFlight) reservation = budget.tryReserve(bytes);
      if (reservation !== undefined) break;
      if (this.#uploads.size > 0) await Promise.race(this.#uploads);
      else reservation = await budget.reserve(bytes, this.#stop.signal);
    }
    const buffer = this.#context.createBuffer(partSize, reservation);
    try {
      if (this.#tail !== undefined) await loadTail(this.#context, this.version.info.id, this.#tail, buffer);
    } catch (error) {
      buffer.discard();
      throw error;
    }
    this.#fillFrom(buffer);
  }

  #fillFrom(buffer: PartBuffer): void {
    this.#filling = buffer;
    buffer.onDrain = () => {
      if (this.#take()) this.onDrain?.();
    };
    if (buffer.reservation === undefined) return;
    buffer.reservation.onYield = () => {
      if (this.#task === undefined && this.#filling === buffer) this.#run(() => this.#yield());
    };
  }

  async #yield(): Promise<void> {
    await this.#storeTail();
    this.takeBuffer()?.discard();
  }

  /** Bytes of the current part become a tail, unless they are one already. */
  async #storeTail(): Promise<void> {
    const buffer = this.#filling;
    if (buffer === undefined || buffer.length === (this.#tail?.length ?? 0)) return;
    await this.#recordMultipart();
    const { id } = this.version.info;
    this.#coverTail(await storeTail(this.#context, id, this.#base, buffer, this.#lost));
  }

  #coverTail(by: Tail | undefined): void {
    if (this.#tail !== undefined) this.coveredTails.push(this.#tail.name);
    this.#tail = by;
  }

  /** The rest of the last chunk came, but no buffer for it: it is in memory anyway, so it is stored from there. */
  async #storeLeft(): Promise<void> {
    if (this.#tail !== undefined || this.#filling !== undefined) {
      // Behind a tail that we no longer hold: without the whole part there is nothing to append to.
      this.#left = undefined;
      return;
    }
    while (this.#left !== undefined && this.#left.length >= this.#expectedSize()) {
      const bytes = this.#left;
      const size = this.#expectedSize();
      this.#left = bytes.length > size ? bytes.subarray(size) : undefined;
      this.#startPart(wrapAsPartBuffer(bytes.subarray(0, size)));
      await this.#drain();
    }
    if (this.#left !== undefined) this.#filling = wrapAsPartBuffer(this.#left);
    this.#left = undefined;
  }

  async #drain(): Promise<void> {
    await Promise.all(this.#uploads);
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#left = undefined;
    this.#stop.abort();
    this.onFailure?.(
      error instanceof StoreError
        ? error
        : new StoreError('store_unavailable', 'S3 failed', { cause: error }),
    );
  }
}
