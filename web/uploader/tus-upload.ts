import { type DetailedError, type HttpRequest, Upload, type UploadOptions } from 'tus-js-client';
import { HttpFailure, NetworkFailure } from './errors.ts';
import type { HeaderSource } from './http.ts';
import { isOnline, whenOnline } from './online.ts';
import type { ChunkPace } from './pace.ts';
import { assertReadable } from './readable.ts';
import type { Sending, SentUpload } from './sending.ts';
import { jittered } from './wait.ts';

export interface TusOptions {
  /** Where uploads are created. */
  endpoint: string;
  headers: HeaderSource;
  retryDelaysMs: readonly number[];
  pace: ChunkPace;
}

/** With a digest the last request waits for it: it should not be the whole upload. */
const LARGEST_CHUNK_WITH_DIGEST = 8 * 1024 * 1024;

/**
 * Sends a file by tus-js-client, from where an earlier page stopped. Waits while there is no network.
 *
 * @throws HttpFailure, NetworkFailure; the signal's reason
 */
export async function uploadByTus(sending: Sending, options: TusOptions): Promise<SentUpload> {
  const giveBack = await sending.takeSlot(sending.signal);
  try {
    for (;;) {
      await whenOnline(sending.signal);
      try {
        return await sendOnce(sending, options);
      } catch (error) {
        sending.signal.throwIfAborted();
        if (error instanceof NetworkFailure) await assertReadable(sending.file);
        // Cut off for so long that tus-js-client gave up: it begins again, from what arrived.
        if (isOnline() || !(error instanceof NetworkFailure)) throw error;
      }
    }
  } finally {
    giveBack();
  }
}

async function sendOnce(sending: Sending, options: TusOptions): Promise<SentUpload> {
  const { file, signal, fingerprint, onProgress } = sending;
  const { pace, retryDelaysMs } = options;
  const headers = await options.headers();
  const chunkBytes = () =>
    sending.digest === undefined ? pace.bytes() : Math.min(pace.bytes(), LARGEST_CHUNK_WITH_DIGEST);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let chunkStartMs = 0;
  let isResumed = false;

  const tusOptions: UploadOptions = {
    endpoint: options.endpoint,
    headers,
    // Ours win: the server reads them.
    metadata: { ...sending.metadata, filename: sending.name, filetype: sending.type },
    fingerprint: async () => `landfall-${fingerprint}`,
    removeFingerprintOnSuccess: true,
    retryDelays: retryDelaysMs.map((ms) => jittered(ms)),
    chunkSize: chunkBytes(),
    onProgress: (sentBytes) => onProgress(sentBytes),
    onChunkComplete: (bytes) => {
      pace.sent(bytes, performance.now() - chunkStartMs);
      // Read by tus-js-client for every request.
      upload.options.chunkSize = chunkBytes();
    },
    onUploadUrlAvailable: () => {
      sending.onStarted({ way: 'tus', id: idOf(upload.url), isResumed, discard: () => upload.abort(true) });
    },
    onBeforeRequest: async (request) => {
      chunkStartMs = performance.now();
      await declareDigest(request, sending, upload.options.chunkSize ?? file.size);
      chunkStartMs = performance.now();
    },
    onShouldRetry: (error) => {
      if (!isOnline() || !isPassingStatus(error.originalResponse?.getStatus())) return false;
      pace.failed();
      upload.options.chunkSize = chunkBytes();
      sending.onRetry();
      return true;
    },
    onSuccess: () => resolve(),
    onError: (error) => reject(toFailure(error)),
  };
  const upload = new Upload(file, tusOptions);
  const stop = (reason: unknown) => {
    upload.abort().catch(() => {});
    reject(reason);
  };
  const onAbort = () => stop(signal.reason);
  // A connection without a network may take minutes to notice.
  const onOffline = () => stop(new NetworkFailure('The network is gone.'));
  signal.addEventListener('abort', onAbort, { once: true });
  addEventListener('offline', onOffline, { once: true });
  try {
    const [previous] = await upload.findPreviousUploads();
    signal.throwIfAborted();
    if (previous !== undefined) {
      isResumed = true;
      upload.resumeFromPreviousUpload(previous);
    }
    upload.start();
    await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    removeEventListener('offline', onOffline);
  }
  return { url: upload.url ?? '', id: idOf(upload.url), sha256: await sending.digest?.() };
}

/**
 * RFC 9530 on the request that ends the upload (of an empty file: that makes it): the digest is there before anything
 * is verified, however long it took to compute.
 */
async function declareDigest(
  request: HttpRequest,
  { digest, file }: Sending,
  chunkBytes: number,
): Promise<void> {
  if (digest === undefined) return;
  const method = request.getMethod();
  const endBytes = method === 'PATCH' ? Number(request.getHeader('Upload-Offset')) + chunkBytes : 0;
  if (endBytes < file.size || (method !== 'PATCH' && method !== 'POST')) return;
  request.setHeader('Repr-Digest', `sha-256=:${base64OfHex(await digest())}:`);
}

function base64OfHex(hex: string): string {
  const bytes = hex.match(/../g)?.map((pair) => String.fromCharCode(Number.parseInt(pair, 16))) ?? [];
  return btoa(bytes.join(''));
}

/** Undefined: there was no answer. */
function isPassingStatus(status: number | undefined): boolean {
  return status === undefined || status === 0 || status >= 500 || [408, 409, 423, 429].includes(status);
}

function toFailure(error: Error | DetailedError): Error {
  if (!('originalRequest' in error)) return error;
  const { originalResponse, causingError } = error;
  if (originalResponse === null) {
    // What the digest or the file threw, not the network.
    if (causingError instanceof Error && causingError.name !== 'ProgressEvent') return causingError;
    return new NetworkFailure('The server cannot be reached.', { cause: error });
  }
  const status = originalResponse.getStatus();
  const text = originalResponse.getBody().trim();
  const message = text === '' ? `The server answered with ${status}.` : text.slice(0, 300);
  return new HttpFailure(status, message, originalResponse.getHeader('Landfall-Error') ?? undefined);
}

function idOf(url: string | null): string {
  return decodeURIComponent(new URL(url ?? '', location.href).pathname.split('/').pop() ?? '');
}
