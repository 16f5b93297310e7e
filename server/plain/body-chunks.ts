import type { Readable } from 'node:stream';
import { HttpError } from '../errors.ts';

export interface BodyChunksOptions {
  /** 0: never. */
  idleTimeoutMs: number;
  /** Ends the reading; its reason is thrown. */
  signal: AbortSignal;
}

/**
 * A request's body, chunk after chunk; the client waits while nobody asks for the next. Unlike iterating over the
 * stream it leaves the request alive when it ends early: it still has to be answered.
 *
 * Throws HttpError idle_timeout, invalid_request (the client left), and the signal's reason.
 */
export async function* bodyChunks(body: Readable, options: BodyChunksOptions): AsyncGenerator<Buffer> {
  for (;;) {
    const chunk = await nextChunk(body, options);
    if (chunk === undefined) return;
    yield chunk;
  }
}

function nextChunk(
  body: Readable,
  { idleTimeoutMs, signal }: BodyChunksOptions,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (outcome: () => void) => {
      clearTimeout(timer);
      body.pause();
      body.off('data', onData);
      body.off('end', onEnd);
      body.off('close', onClose);
      signal.removeEventListener('abort', onAbort);
      outcome();
    };
    const onData = (chunk: Buffer) => settle(() => resolve(chunk));
    const onEnd = () => settle(() => resolve(undefined));
    const onClose = () => settle(() => (body.readableEnded ? resolve(undefined) : reject(clientLeft())));
    const onAbort = () => settle(() => reject(signal.reason));
    const onIdle = () => settle(() => reject(new HttpError('idle_timeout')));
    const timer = idleTimeoutMs > 0 ? setTimeout(onIdle, idleTimeoutMs) : undefined;
    if (signal.aborted) return onAbort();
    if (body.readableEnded) return onEnd();
    if (body.destroyed) return onClose();
    body.on('data', onData);
    body.on('end', onEnd);
    body.on('close', onClose);
    signal.addEventListener('abort', onAbort);
    body.resume();
  });
}

function clientLeft(): HttpError {
  return new HttpError('invalid_request', { message: 'The request was cut off.' });
}
