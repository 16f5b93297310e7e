import type { Readable, Writable } from 'node:stream';
import { StoreError } from '../errors.ts';
import type { OriginalReader } from '../types.ts';
import type { StoreContext } from './context.ts';
import { isS3Failure } from './port.ts';
import { toStoreError, withRetries } from './retry.ts';
import { headOriginal } from './state.ts';

/** Opens a finished original: one HEAD now, one ranged GET per `send`. */
export async function openStoredOriginal(context: StoreContext, id: string): Promise<OriginalReader> {
  const head = await headOriginal(context, id);
  if (head === undefined) throw new StoreError('upload_not_found', 'there is no finished original');
  return {
    size: head.size,
    etag: head.etag.replace(/^W\//, '').replaceAll('"', '') || `${head.size}-${head.modifiedAtMs}`,
    modifiedAtMs: head.modifiedAtMs,
    async send(target, start, end, signal) {
      if (head.size === 0) return;
      await sendRange(context, id, target, { start, end }, signal);
    },
    async close() {},
  };
}

async function sendRange(
  context: StoreContext,
  id: string,
  target: Writable,
  range: { start: number; end: number },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { s3, keys, environment, retry } = context;
  let body: Readable;
  try {
    body = await withRetries(environment, retry, () => s3.streamObject(keys.original(id), range), signal);
  } catch (error) {
    if (isS3Failure(error, 'not_found')) {
      throw new StoreError('upload_not_found', 'the original is not there any more', { cause: error });
    }
    throw toStoreError(error, 'reading the original');
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
      if (!target.write(chunk)) body.pause();
    };
    const onDrain = () => body.resume();
    const onTargetClose = () => settle();
    const onAbort = () => settle(signal?.reason);
    const onError = (cause: unknown) =>
      settle(new StoreError('store_unavailable', 'S3 stopped sending the original', { cause }));
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
