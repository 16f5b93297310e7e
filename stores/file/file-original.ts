import { close, constants, fstat, open, type Stats, WriteStream } from 'node:fs';
import { OutgoingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { StoreError } from '../errors.ts';
import type { OriginalReader } from '../types.ts';
import { createReadBuffers, freshBuffers, type ReadBuffers } from './read-buffers.ts';
import { type SendControl, sendFileRange } from './send-file-range.ts';

const openFd = promisify(open);
const statFd = promisify(fstat);
const closeFd = promisify(close);

export interface FileOriginalOptions {
  path: string;
  /** Strong entity tag without quotes. */
  etag: string;
  /** Bytes that the upload has; a file of another size is upload_damaged. Default: whatever the file has. */
  size?: number;
  /** Default: the file's modification time. */
  modifiedAtMs?: number;
  /** One for the whole store, so that the memory of all downloads has one bound. */
  buffers?: ReadBuffers;
}

/**
 * Opens a finished original on disk. The reader works on the opened file: one that is unlinked or replaced
 * meanwhile is still served whole.
 *
 * Throws upload_not_found (no such file), upload_damaged (not a regular file, or of another size),
 * store_unavailable (no descriptors left, no permission, a failing disk).
 */
export async function openFileOriginal(options: FileOriginalOptions): Promise<OriginalReader> {
  const { path, etag, buffers = createReadBuffers({ largeCount: 4, smallKept: 1 }) } = options;
  // O_NONBLOCK: a FIFO in the place of the file must not hold a thread of the pool for ever.
  const fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: unknown) => {
    throw openError(path, cause);
  });
  let stats: Stats;
  try {
    stats = await statFd(fd);
    if (!stats.isFile()) throw new StoreError('upload_damaged', `${path} is not a regular file`);
    if (options.size !== undefined && stats.size !== options.size) {
      throw new StoreError('upload_damaged', `${path} has ${stats.size} bytes, not ${options.size}`);
    }
  } catch (cause) {
    await closeFd(fd).catch(() => {});
    throw cause instanceof StoreError ? cause : openError(path, cause);
  }

  const { size } = stats;
  /** Sends under way. Their promises never settle while a read is in flight. */
  const sends = new Map<SendControl, Promise<void>>();
  let closing: Promise<void> | undefined;

  async function closeOnce(): Promise<void> {
    const error = new StoreError('store_unavailable', `${path} was closed while it was being sent`);
    for (const control of sends.keys()) control.stop?.(error);
    await Promise.allSettled(sends.values());
    // A descriptor that is closed under a read could be another file's by the time the read runs.
    await closeFd(fd).catch((cause: unknown) => {
      throw new StoreError('store_unavailable', `cannot close ${path}`, { cause });
    });
  }

  return {
    size,
    etag,
    modifiedAtMs: options.modifiedAtMs ?? Math.floor(stats.mtimeMs),
    path,
    async send(target, start, end, signal) {
      if (closing !== undefined) throw new StoreError('store_unavailable', `${path} is closed`);
      if (
        !Number.isSafeInteger(start) ||
        !Number.isSafeInteger(end) ||
        start < 0 ||
        end < start ||
        end >= size
      ) {
        throw new RangeError(`bytes ${start}-${end} are not within the ${size} bytes of ${path}`);
      }
      const control: SendControl = {};
      const sent = sendFileRange({
        fd,
        path,
        target,
        start,
        end,
        signal,
        control,
        buffers: releasesChunks(target) ? buffers : freshBuffers,
      });
      sends.set(control, sent);
      try {
        await sent;
      } finally {
        sends.delete(control);
      }
    },
    close() {
      closing ??= closeOnce();
      return closing;
    },
  };
}

/**
 * True for targets known to be done with a chunk when its write calls back: then it is in the kernel. Any other
 * stream may keep a reference (a PassThrough does, so does a response whose `write` somebody wrapped), and
 * memory that is read into again would change the bytes it holds.
 */
function releasesChunks(target: Writable): boolean {
  if (target instanceof Socket || target instanceof WriteStream) return true;
  // The types say that a response is a Writable; in truth it is an OutgoingMessage.
  const response: unknown = target;
  return response instanceof OutgoingMessage && response.write === OutgoingMessage.prototype.write;
}

function openError(path: string, cause: unknown): StoreError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new StoreError('upload_not_found', `there is no ${path}`, { cause });
  }
  return new StoreError('store_unavailable', `cannot open ${path}`, { cause });
}
