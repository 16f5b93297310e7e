import { createHash } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { SNIFFED_BYTES } from '../../processors/sniff.ts';
import type { Reservation } from '../../stores/buffer-budget.ts';
import { StoreError } from '../../stores/errors.ts';
import type { OriginalReader } from '../../stores/types.ts';
import { readHeadOf } from '../uploads/read-head.ts';
import { type FileHasher, sha256Of } from './digest.ts';
import type { Scratch, ScratchDirectory } from './scratch.ts';

const WRITE_BUFFER_BYTES = 1024 * 1024;

/** A finished original, for the hooks of one attempt. What it costs is paid when it is asked for. Always `close()` it. */
export interface WorkingCopy {
  /** Bytes. */
  readonly size: number;
  /** The first SNIFFED_BYTES, or all there are. */
  head(): Promise<Buffer>;
  /** Lower-case hex. */
  sha256(): Promise<string>;
  /**
   * A local file with its bytes, never to be written: the stored file itself, or a copy in the scratch directory.
   * Where the digest is wanted too, S3 is read once for both.
   */
  path(): Promise<string>;
  /** An empty directory, the same at every call. */
  outDir(): Promise<string>;
  close(): Promise<void>;
}

export interface WorkingCopyOptions {
  /** Closed with the copy. */
  reader: OriginalReader;
  hasher: FileHasher;
  scratch: Scratch;
  /** Whether the path will be asked for too: a digest is then computed on the way to it. */
  willNeedPath: () => boolean;
  signal: AbortSignal;
}

export function openWorkingCopy(options: WorkingCopyOptions): WorkingCopy {
  const { reader, hasher, scratch, willNeedPath, signal } = options;
  let directory: Promise<ScratchDirectory> | undefined;
  let outDir: Promise<string> | undefined;
  let fetched: Promise<FetchedOriginal> | undefined;
  let reservation: Reservation | undefined;

  function scratchDirectory(): Promise<ScratchDirectory> {
    directory ??= withDiskErrors(() => scratch.open());
    return directory;
  }

  function fetch(): Promise<FetchedOriginal> {
    fetched ??= (async () => {
      reservation = await scratch.reserve(reader.size, signal);
      const path = join((await scratchDirectory()).path, 'original');
      return { path, sha256: await copyAndHash(reader, path, signal) };
    })();
    return fetched;
  }

  return {
    size: reader.size,
    head: () => readHeadOf(reader, SNIFFED_BYTES),
    async sha256() {
      if (reader.path === undefined && willNeedPath()) return (await fetch()).sha256;
      return sha256Of(reader, hasher, signal);
    },
    async path() {
      return reader.path ?? (await fetch()).path;
    },
    outDir() {
      outDir ??= (async () => {
        const path = join((await scratchDirectory()).path, 'out');
        await withDiskErrors(() => mkdir(path));
        return path;
      })();
      return outDir;
    },
    async close() {
      await fetched?.catch(() => {});
      // What cannot be removed now is removed by the sweep.
      await directory?.then((opened) => opened.remove()).catch(() => {});
      reservation?.release();
      await reader.close();
    },
  };
}

interface FetchedOriginal {
  path: string;
  sha256: string;
}

async function copyAndHash(reader: OriginalReader, path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  let copiedBytes = 0;
  await withDiskErrors(async () => {
    const file = await open(path, 'wx', 0o600);
    let failure: Error | null | undefined;
    try {
      const target = file.createWriteStream({ autoClose: false });
      // Its writes' callbacks say the same.
      target.on('error', () => {});
      const sink = new Writable({
        highWaterMark: WRITE_BUFFER_BYTES,
        write(chunk: Buffer, _encoding, done) {
          hash.update(chunk);
          copiedBytes += chunk.length;
          // Readers take a chunk's memory back once its write has called back: it is on the disk then.
          target.write(chunk, done);
        },
        // A reader ends early, and without an error, when its target closes.
        destroy(error, done) {
          failure = error;
          done(error);
        },
      });
      sink.on('error', () => {});
      if (reader.size > 0) await reader.send(sink, 0, reader.size - 1, signal);
      await new Promise<void>((resolve) => sink.end(() => resolve()));
      if (failure) throw failure;
    } finally {
      await file.close();
    }
  });
  if (copiedBytes !== reader.size) {
    throw new StoreError('store_unavailable', `${copiedBytes} of ${reader.size} bytes of an original came`);
  }
  return hash.digest('hex');
}

async function withDiskErrors<T>(task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
    throw new StoreError('storage_full', 'the scratch directory is full', { cause: error, retryable: true });
  }
}
