import { HttpFailure, NetworkFailure } from './errors.ts';

/** Without a byte for this long, a connection is as good as dead. */
const STALL_MS = 60_000;

export interface SendPartOptions {
  onProgress: (sentBytes: number) => void;
  signal: AbortSignal;
}

/**
 * Puts a part at its presigned address. By XMLHttpRequest: fetch tells nobody how much it has sent.
 *
 * @returns the part's entity tag; undefined where the bucket's CORS rules do not expose it
 * @throws HttpFailure, NetworkFailure; the signal's reason
 */
export function sendPart(url: string, part: Blob, options: SendPartOptions): Promise<string | undefined> {
  const { onProgress, signal } = options;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const xhr = new XMLHttpRequest();
    let stall: ReturnType<typeof setTimeout>;
    const watch = () => {
      clearTimeout(stall);
      stall = setTimeout(() => {
        end();
        xhr.abort();
        reject(new NetworkFailure('Nothing was sent for a minute.'));
      }, STALL_MS);
    };
    const onAbort = () => {
      end();
      xhr.abort();
      reject(signal.reason);
    };
    // A connection without a network may take minutes to notice.
    const onOffline = () => {
      end();
      xhr.abort();
      reject(new NetworkFailure('The network is gone.'));
    };
    const end = () => {
      clearTimeout(stall);
      signal.removeEventListener('abort', onAbort);
      removeEventListener('offline', onOffline);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    addEventListener('offline', onOffline, { once: true });
    xhr.upload.addEventListener('progress', ({ loaded }) => {
      watch();
      onProgress(loaded);
    });
    xhr.addEventListener('error', () => {
      end();
      reject(new NetworkFailure('The bucket cannot be reached, or does not let this page write to it.'));
    });
    xhr.addEventListener('load', () => {
      end();
      if (xhr.status >= 200 && xhr.status < 300) resolve(xhr.getResponseHeader('etag') ?? undefined);
      else reject(new HttpFailure(xhr.status, `The bucket answered with ${xhr.status}.`));
    });
    xhr.open('PUT', url);
    watch();
    xhr.send(part);
  });
}
