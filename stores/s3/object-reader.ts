import type { Readable, Writable } from 'node:stream';
import type { Environment } from '../environment.ts';
import { StoreError } from '../errors.ts';
import type { OriginalReader } from '../types.ts';
import { releaseChunk } from './part-buffer.ts';
import { isS3Failure, type ObjectHead, type S3Port } from './port.ts';
import { type RetryPolicy, toStoreError, withRetries } from './retry.ts';

/** What is needed to read objects; a StoreContext is one. */
export interface ObjectAccess {
  s3: S3Port;
  environment: Environment;
  retry: RetryPolicy;
}

export interface ReadObject {
  key: string;
  head: ObjectHead;
  /** Strong entity tag without quotes. */
  etag: string;
  /** For messages: "the original". */
  what: string;
}

/** Reads an object whose head is known: one ranged GET per `send`. */
export function createObjectReader(access: ObjectAccess, object: ReadObject): OriginalReader {
  const { head, etag } = object;
  return {
    size: head.size,
    etag,
    modifiedAtMs: head.modifiedAtMs,
    async send(target, start, end, signal) {
      if (head.size === 0) return;
      await sendRange(access, object, target, { start, end }, signal);
    },
    async close() {},
  };
}

/** Undefined where there is no such object. */
export async function headIfExists(
  { s3, environment, retry }: ObjectAccess,
  key: string,
  what: string,
): Promise<ObjectHead | undefined> {
  try {
    return await withRetries(environment, retry, () => s3.headObject(key));
  } catch (error) {
    if (isS3Failure(error, 'not_found')) return undefined;
    throw toStoreError(error, `asking for ${what}`);
  }
}

async function sendRange(
  { s3, environment, retry }: ObjectAccess,
  { key, what }: ReadObject,
  target: Writable,
  range: { start: number; end: number },
  signal: AbortSignal | undefined,
): Promise<void> {
  let body: Readable;
  try {
    body = await withRetries(environment, retry, () => s3.streamObject(key, range), signal);
  } catch (error) {
    if (isS3Failure(error, 'not_found')) {
      throw new StoreError('upload_not_found', `${what} is not there any more`, { cause: error });
    }
    throw toStoreError(error, `reading ${what}`);
  }
  await copyStream(body, target, range.end - range.start + 1, signal);
}

/**
 * Copies with backpressure and leaves `target` open. The transfer from S3 is destroyed on every way out: a reader
 * that nobody drains would keep a connection of the pool.
 */
function copyStream(
  body: Readable,
  target: Writable,
  length: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let copied = 0;
    const settle = (error?: unknown) => {
      body.off('data', onData);
      body.off('end', onEnd);
      body.off('error', onError);
      body.off('close', onBodyClose);
      target.off('drain', onDrain);
      target.off('close', onTargetClose);
      target.off('error', onTargetClose);
      signal?.removeEventListener('abort', onAbort);
      body.on('error', () => undefined);
      body.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    const onData = (chunk: Buffer) => {
      copied += chunk.length;
      // Network chunks hardly press on the garbage collector: a fast download would leave hundreds of megabytes of them.
      if (!target.write(chunk, () => releaseChunk(chunk))) body.pause();
    };
    const onDrain = () => body.resume();
    const onTargetClose = () => settle();
    const onAbort = () => settle(signal?.reason);
    const onError = (cause: unknown) =>
      settle(new StoreError('store_unavailable', 'S3 stopped sending', { cause }));
    const onEnd = () =>
      copied === length ? settle() : onError(new Error(`${copied} of ${length} bytes came`));
    const onBodyClose = () => onError(new Error('the connection was closed'));

    if (target.destroyed) return settle();
    if (signal?.aborted) return settle(signal.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    target.on('drain', onDrain);
    target.on('close', onTargetClose);
    target.on('error', onTargetClose);
    body.on('end', onEnd);
    body.on('error', onError);
    body.on('close', onBodyClose);
    body.on('data', onData);
  });
}
