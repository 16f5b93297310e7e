import { read } from 'node:fs';
import type { Writable } from 'node:stream';
import { StoreError } from '../errors.ts';
import type { ReadBuffers } from './read-buffers.ts';

/** Lets the owner of the descriptor end a send. `stop` is there while the send runs. */
export interface SendControl {
  stop?: (error: Error) => void;
}

export interface FileRange {
  fd: number;
  /** For messages only. */
  path: string;
  target: Writable;
  /** First and last byte, both included. */
  start: number;
  end: number;
  buffers: ReadBuffers;
  signal: AbortSignal | undefined;
  control: SendControl;
}

/** One chunk with the target, one waiting in front of it. */
const MAX_UNWRITTEN = 2;

/**
 * Copies a range of a file to a target: one read at a time, the next one while the last chunk is being written,
 * each buffer reused once its write called back. That callback is the backpressure too: at most two chunks are
 * ever on their way.
 *
 * This is the hot path of downloads, hence plain callbacks: `fs.createReadStream().pipe()` takes three times the
 * CPU, most of it for fresh memory per chunk and for stream bookkeeping.
 *
 * Resolves when every byte was taken, or early when the target closed or refused a write (its own 'error' event
 * says why; its owner listens to that). Rejects with the signal's reason, with store_unavailable when a read
 * fails, with upload_damaged when the file ends before the range does. Never settles with a read in flight: the
 * descriptor may be closed right after.
 */
export function sendFileRange(range: FileRange): Promise<void> {
  const { fd, path, target, start, end, buffers, signal, control } = range;
  if (signal?.aborted) return Promise.reject(signal.reason);
  if (target.destroyed || target.closed) return Promise.resolve();

  return new Promise((resolve, reject) => {
    /** Buffers whose write has not called back. */
    const unwritten = new Set<Buffer>();
    let position = start;
    let isReading = false;
    let isStopped = false;
    let failure: unknown;

    function stop(error?: unknown): void {
      if (isStopped) return;
      isStopped = true;
      failure = error;
      if (!isReading) settle();
    }

    function settle(): void {
      delete control.stop;
      target.off('close', onClose);
      signal?.removeEventListener('abort', onAbort);
      // A stopped target may still refer to these (and may never call back): no other send gets them.
      for (const buffer of unwritten) buffers.drop(buffer);
      unwritten.clear();
      if (failure === undefined) resolve();
      else reject(failure);
    }

    function onClose(): void {
      stop();
    }

    function onAbort(): void {
      stop(signal?.reason);
    }

    function readNext(): void {
      if (isStopped || isReading || position > end || unwritten.size === MAX_UNWRITTEN) return;
      const remaining = end - position + 1;
      const buffer = buffers.take(remaining, unwritten.size > 0);
      // Memory is short: the callback of the write under way comes back here.
      if (buffer === undefined) return;
      isReading = true;
      read(fd, buffer, 0, Math.min(buffer.length, remaining), position, (error, bytesRead) => {
        isReading = false;
        if (isStopped) {
          buffers.give(buffer);
          settle();
        } else if (error !== null) {
          buffers.give(buffer);
          stop(new StoreError('store_unavailable', `cannot read ${path} at ${position}`, { cause: error }));
        } else if (bytesRead === 0) {
          buffers.give(buffer);
          stop(new StoreError('upload_damaged', `${path} ends at ${position}, before byte ${end}`));
        } else {
          position += bytesRead;
          write(buffer, bytesRead);
          readNext();
        }
      });
    }

    function write(buffer: Buffer, bytes: number): void {
      unwritten.add(buffer);
      try {
        target.write(bytes === buffer.length ? buffer : buffer.subarray(0, bytes), (error) =>
          onWritten(buffer, error),
        );
      } catch (error) {
        // Thrown inside a read's callback, it would end the process.
        stop(error);
      }
    }

    function onWritten(buffer: Buffer, error: Error | null | undefined): void {
      // Already dropped: the send is over.
      if (!unwritten.has(buffer)) return;
      if (error) {
        stop();
        return;
      }
      unwritten.delete(buffer);
      buffers.give(buffer);
      if (position > end && unwritten.size === 0) stop();
      else readNext();
    }

    control.stop = stop;
    target.once('close', onClose);
    signal?.addEventListener('abort', onAbort, { once: true });
    readNext();
  });
}
