import type { DigestAnswer } from './digest-worker.ts';
import { UploadError } from './errors.ts';
import { hashBlob } from './hash-blob.ts';

/**
 * The SHA-256 of a file as lower-case hex, computed beside the upload in a worker of its own (the file is read once
 * more for it). Where a worker cannot be had (an old browser, a page that forbids it) the page does it itself.
 *
 * @throws UploadError changed; the signal's reason
 */
export function digestOf(blob: Blob, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    let worker: Worker | undefined;
    const end = () => {
      worker?.terminate();
      signal.removeEventListener('abort', onAbort);
    };
    const onAbort = () => {
      end();
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const hashHere = () => {
      hashBlob(blob, () => !signal.aborted)
        .then(resolve, (error: unknown) => reject(unreadable(String(error))))
        .finally(end);
    };
    try {
      worker = new Worker(new URL('./digest-worker.js', import.meta.url), { type: 'module' });
    } catch {
      hashHere();
      return;
    }
    worker.addEventListener('error', () => {
      worker?.terminate();
      hashHere();
    });
    worker.addEventListener('message', ({ data }: MessageEvent<DigestAnswer>) => {
      end();
      if ('sha256' in data) resolve(data.sha256);
      else reject(unreadable(data.failure));
    });
    worker.postMessage(blob);
  });
}

function unreadable(reason: string): UploadError {
  return new UploadError('changed', `The file cannot be read any more: ${reason}`);
}
