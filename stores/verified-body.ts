import fs from 'node:fs';
import { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { type ChunkSink, pumpBody } from './body-pump.ts';
import type { BufferBudget } from './buffer-budget.ts';
import { StoreError } from './errors.ts';
import { FileSink } from './file/file-sink.ts';
import * as files from './file/files.ts';
import { withStorageErrors } from './file/storage-errors.ts';
import { WriteBudget } from './file/write-budget.ts';
import type { StoredUpload } from './stored-upload.ts';
import type { AppendOptions, AppendResult, BodyChecksum } from './types.ts';

export interface VerifiedAppendOptions {
  /** Larger bodies wait on the disk, where there is a spool. */
  maxMemoryBytes: number;
  /** Takes memory at once or not at all; what it returns gives it back. */
  tryMemory(bytes: number): (() => void) | undefined;
  spool: BodySpool | undefined;
}

export interface BodySpool {
  budget: BufferBudget;
  /** A path that nobody else uses while `id` is locked; what lies there is overwritten. */
  pathFor(id: string): string;
}

/** Stores a body whose checksum is right, by means of the store's ordinary append. */
export type VerifiedAppend = (
  upload: StoredUpload,
  body: Readable,
  options: AppendOptions & { checksum: BodyChecksum },
  append: (verified: Readable, options: AppendOptions) => Promise<AppendResult>,
) => Promise<AppendResult>;

/** A body without Content-Length may be this long: so much is reserved for it before its first byte is read. */
const UNKNOWN_LENGTH_BYTES = 256 * 1024 * 1024;
/** How long a body waits for room on the disk before its client is told to come back. */
const MAX_WAIT_MS = 30_000;
/** Bytes that may wait for the spool's disk, all bodies together. */
const SPOOL_WRITE_BYTES = 16 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

/**
 * Bodies that come with a checksum are gathered, verified, and only then given to the ordinary append: none of their
 * bytes ever counts unverified, whenever the process is killed.
 *
 * Small ones are gathered in memory, others in a file that has no name any more once it is open: the system removes
 * it with the process, however that ends. A kill between the two calls leaves an empty file. The whole length is
 * reserved before the first byte is read, and nothing that holds it waits for anything that it could be in the way of.
 */
export function createVerifiedAppend(options: VerifiedAppendOptions): VerifiedAppend {
  const writeBudget = new WriteBudget(SPOOL_WRITE_BYTES);

  return async (upload, body, appendOptions, append) => {
    const { checksum, limit, signal, lock } = appendOptions;
    const unchanged = { offset: upload.offset };
    const capacity = Math.min(limit, appendOptions.expectedBytes ?? mostOfUnknownLength(options));
    const room = await reserve(upload.id, capacity, appendOptions, body);
    if (room === undefined) return { ...unchanged, end: signal.aborted ? 'released' : 'cut' };
    try {
      const { end, taken } = await pumpBody(body, room.sink, {
        limit: capacity,
        signal,
        lock,
        idleTimeoutMs: appendOptions.idleTimeoutMs,
        onChunk: (chunk) => checksum.update(chunk),
      });
      if (end === 'limit' && capacity < limit) throw tooLarge(capacity);
      if (end !== 'end') return { ...unchanged, end };
      await room.flush();
      if (!(await checksum.matches(() => room.open()))) return { ...unchanged, end: 'checksum_mismatch' };

      const content = room.open();
      const result = await append(content, {
        ...appendOptions,
        checksum: undefined,
        expectedBytes: taken,
        idleTimeoutMs: 0,
      });
      if (result.end !== 'cut') return result;
      throw new StoreError('store_unavailable', 'reading back a verified body failed', {
        cause: content.errored,
      });
    } finally {
      await room.discard();
    }
  };

  /** Undefined: the wait ended because the request did. */
  async function reserve(
    id: string,
    bytes: number,
    { signal, lock }: AppendOptions,
    body: Readable,
  ): Promise<Room | undefined> {
    const { spool } = options;
    if (bytes <= options.maxMemoryBytes) {
      const give = options.tryMemory(bytes);
      if (give !== undefined) return new MemoryRoom(bytes, give);
    }
    if (spool === undefined || bytes > spool.budget.totalBytes) throw tooLarge(bytes);
    const timeout = AbortSignal.timeout(MAX_WAIT_MS);
    const closed = new AbortController();
    const onClose = () => closed.abort();
    body.once('close', onClose);
    const reservation = await spool.budget.reserve(
      bytes,
      AbortSignal.any([signal, lock.lost, timeout, closed.signal]),
    );
    body.off('close', onClose);
    if (reservation === undefined) {
      if (lock.lost.aborted) throw new StoreError('lock_lost', 'the lock was lost in the wait for room');
      if (signal.aborted || closed.signal.aborted) return undefined;
      throw new StoreError('store_unavailable', 'there is no room now for a body that has to be verified');
    }
    try {
      const releaseMemory = body instanceof IncomingMessage && body.httpVersionMajor === 1;
      return new SpoolRoom({
        fd: await openNameless(spool.pathFor(id)),
        budget: writeBudget,
        releaseMemory,
        release: () => reservation.release(),
      });
    } catch (error) {
      reservation.release();
      throw error;
    }
  }
}

/** Where one body waits. */
interface Room {
  sink: ChunkSink;
  /** Rejects when not everything could be kept. */
  flush(): Promise<void>;
  /** The body from its start; one at a time. */
  open(): Readable;
  discard(): Promise<void>;
}

/** Copied into one piece: a thousand tiny chunks would take many times their length. */
class MemoryRoom implements Room {
  readonly sink: ChunkSink;
  readonly #memory: Buffer;
  readonly #release: () => void;
  #length = 0;

  constructor(bytes: number, release: () => void) {
    this.#memory = Buffer.allocUnsafeSlow(bytes);
    this.#release = release;
    this.sink = {
      write: (chunk) => {
        this.#length += chunk.copy(this.#memory, this.#length);
        return true;
      },
      onDrain: undefined,
      onFailure: undefined,
    };
  }

  async flush(): Promise<void> {}

  open(): Readable {
    return Readable.from(this.#length === 0 ? [] : [this.#memory.subarray(0, this.#length)]);
  }

  async discard(): Promise<void> {
    this.#release();
  }
}

class SpoolRoom implements Room {
  readonly sink: FileSink;
  readonly #fd: number;
  readonly #release: () => void;
  #reading: Promise<unknown> = Promise.resolve();
  #isDiscarded = false;

  constructor(options: { fd: number; budget: WriteBudget; releaseMemory: boolean; release: () => void }) {
    const { fd, budget, releaseMemory, release } = options;
    this.sink = new FileSink({ fd, position: 0, releaseMemory, budget });
    this.#fd = fd;
    this.#release = release;
  }

  flush(): Promise<void> {
    return this.sink.flush();
  }

  open(): Readable {
    return Readable.from(this.#chunks());
  }

  /** The descriptor is closed when nothing uses it any more: the next file gets its number. */
  async discard(): Promise<void> {
    this.#isDiscarded = true;
    await Promise.all([this.sink.abandon(), this.#reading]);
    await files.close(this.#fd);
    this.#release();
  }

  async *#chunks(): AsyncGenerator<Buffer> {
    const end = this.sink.position;
    for (let position = 0; position < end && !this.#isDiscarded; ) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, end - position));
      const reading = read(this.#fd, chunk, position);
      this.#reading = reading.catch(() => {});
      const count = await reading;
      if (count === 0) throw new Error('the spooled body became shorter');
      position += count;
      yield chunk.subarray(0, count);
    }
  }
}

async function openNameless(path: string): Promise<number> {
  return withStorageErrors(async () => {
    const fd = await files.open(path, 'w+');
    await files.unlinkIfExists(path);
    return fd;
  });
}

function read(fd: number, buffer: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, buffer, 0, buffer.length, position, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}

function mostOfUnknownLength({ spool, maxMemoryBytes }: VerifiedAppendOptions): number {
  return Math.min(UNKNOWN_LENGTH_BYTES, Math.max(maxMemoryBytes, spool?.budget.totalBytes ?? 0));
}

function tooLarge(bytes: number): StoreError {
  return new StoreError('checksum_body_too_large', `${bytes} bytes cannot be kept until they are verified`);
}
