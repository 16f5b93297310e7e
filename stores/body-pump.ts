import type { Readable } from 'node:stream';
import { StoreError } from './errors.ts';
import type { UploadLock } from './locker/types.ts';
import type { AppendOptions, BodyEnd } from './types.ts';

/** Takes a body's chunks in order. `write` hands the chunk's memory over to the sink. */
export interface ChunkSink {
  /** False: the sink holds enough; it calls `onDrain` when it wants more. */
  write(chunk: Buffer): boolean;
  onDrain: (() => void) | undefined;
  /** Called by the sink, at most once, when it can take no more because its store failed. */
  onFailure: ((error: unknown) => void) | undefined;
}

/** Those of an append that say how its body is taken. */
export type PumpOptions = Pick<
  AppendOptions,
  'limit' | 'signal' | 'idleTimeoutMs' | 'onChunk' | 'onProgress'
> & { lock: Pick<UploadLock, 'lost'> };

export interface PumpResult {
  end: BodyEnd;
  /** Bytes given to the sink. */
  taken: number;
}

/**
 * Moves a request's body into a sink: the one place that knows how a body can end.
 *
 * It listens to the raw stream's events instead of piping, because a pipeline destroys the request (and with it
 * the response) on every error, and because a web stream or a Transform in between doubles the cost of a byte.
 * When it settles it has detached from the body and left it paused (unless the body ended): the caller answers, and decides what
 * to do with the rest. Rejects with the sink's failure, or with lock_lost.
 */
export function pumpBody(body: Readable, sink: ChunkSink, options: PumpOptions): Promise<PumpResult> {
  return new Promise((resolve, reject) => {
    const { limit, signal, idleTimeoutMs, onChunk, onProgress } = options;
    const { lost } = options.lock;
    let taken = 0;
    let settled = false;
    let isHeldBack = false;

    const idleTimer =
      idleTimeoutMs > 0
        ? setTimeout(() => {
            if (isHeldBack) idleTimer?.refresh();
            else finish('idle');
          }, idleTimeoutMs)
        : undefined;

    const detach = () => {
      settled = true;
      clearTimeout(idleTimer);
      body.off('data', onData);
      body.off('end', onEnd);
      body.off('close', onClose);
      // The error listener stays: a socket error after we are done must not become an uncaught exception.
      signal.removeEventListener('abort', onRelease);
      lost.removeEventListener('abort', onLost);
      sink.onDrain = undefined;
      sink.onFailure = undefined;
      if (!body.readableEnded) body.pause();
    };
    const finish = (end: BodyEnd) => {
      if (settled) return;
      detach();
      resolve({ end: end === 'limit' || takeBuffered() ? end : 'limit', taken });
    };
    /** What reached this process while the sink held the body back is kept too. False: it was more than the limit. */
    const takeBuffered = () => {
      // Also of a destroyed stream `read` returns what is buffered; 'data' would not come any more.
      for (let chunk = body.read(); chunk !== null; chunk = body.read()) {
        if (!take(chunk)) return false;
      }
      return true;
    };
    const fail = (error: unknown) => {
      if (settled) return;
      detach();
      reject(error);
    };

    /** False: the chunk crosses the limit and was dropped. */
    const take = (chunk: Buffer) => {
      if (taken + chunk.length > limit) return false;
      taken += chunk.length;
      onChunk?.(chunk);
      isHeldBack = !sink.write(chunk);
      onProgress?.(taken);
      return true;
    };
    const onData = (chunk: Buffer) => {
      if (!take(chunk)) return finish('limit');
      if (settled) return;
      idleTimer?.refresh();
      if (isHeldBack) body.pause();
    };
    const onEnd = () => finish('end');
    const onClose = () => finish(body.readableEnded ? 'end' : 'cut');
    const onError = () => finish('cut');
    const onRelease = () => finish('released');
    const onLost = () =>
      fail(new StoreError('lock_lost', 'the lock was lost while the body was being written'));

    sink.onDrain = () => {
      if (settled || !isHeldBack) return;
      isHeldBack = false;
      idleTimer?.refresh();
      body.resume();
    };
    sink.onFailure = fail;

    body.on('error', onError);
    if (lost.aborted) return onLost();
    if (signal.aborted) return finish('released');
    if (body.readableEnded) return finish('end');
    if (body.destroyed) return finish('cut');
    signal.addEventListener('abort', onRelease, { once: true });
    lost.addEventListener('abort', onLost, { once: true });
    body.on('end', onEnd);
    body.on('close', onClose);
    body.on('data', onData);
    body.resume();
  });
}
