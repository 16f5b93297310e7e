/**
 * Why an upload ended without success. `refused`: the server does not want this file, and says why. `network`: no
 * answer came, however often it was tried. `server`: the server or the bucket failed. `changed`: the file cannot be
 * read (any more) as it was chosen. `cancelled`: somebody here ended it.
 */
export type UploadErrorCode = 'refused' | 'network' | 'server' | 'changed' | 'cancelled';

/** `retry()` of the upload can help unless the code is `refused`. */
export class UploadError extends Error {
  override readonly name = 'UploadError';
  readonly code: UploadErrorCode;
  /** HTTP status, where there was an answer. */
  readonly status: number | undefined;

  constructor(code: UploadErrorCode, message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status;
  }
}

/** Straight to the bucket does not work here, whatever the reason: tus takes over. */
export class DirectUnavailable extends Error {
  override readonly name = 'DirectUnavailable';
}

/** An HTTP answer that is no success. */
export class HttpFailure extends Error {
  override readonly name = 'HttpFailure';
  readonly status: number;
  /** Of an answer by Landfall. */
  readonly code: string | undefined;

  constructor(status: number, message: string, code?: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** No answer came: cut off, refused, or hidden from us by CORS; a browser does not say which. */
export class NetworkFailure extends Error {
  override readonly name = 'NetworkFailure';
}

/** Whether the same request may work in a moment. */
export function isPassing(error: unknown): boolean {
  if (error instanceof NetworkFailure) return true;
  return error instanceof HttpFailure && (error.status >= 500 || [408, 423, 429].includes(error.status));
}

/** Codes of Landfall's refusals that no other way of uploading would change. */
const REFUSALS = new Set(['size_limit', 'type_not_allowed', 'metadata_required', 'too_many_uploads']);

export function isRefusal(error: unknown): error is HttpFailure {
  return error instanceof HttpFailure && error.code !== undefined && REFUSALS.has(error.code);
}

/** What is thrown at whoever waits for the upload. */
export function toUploadError(error: unknown): UploadError {
  if (error instanceof UploadError) return error;
  if (error instanceof HttpFailure) {
    const isServer = error.status >= 500 || error.status === 423;
    return new UploadError(isServer ? 'server' : 'refused', error.message, {
      status: error.status,
      cause: error,
    });
  }
  if (error instanceof NetworkFailure) return new UploadError('network', error.message, { cause: error });
  return new UploadError('server', error instanceof Error ? error.message : String(error), { cause: error });
}
