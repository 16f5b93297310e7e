/**
 * What can go wrong with an upload or a download, by who has to do something about it.
 *
 * - `network`: the server could not be reached, or the connection broke, for longer than there were retries
 * - `refused`: the server said no; `status` and `serverCode` say why (the server's docs/errors.md has the codes)
 * - `upload_gone`: the upload was deleted, has expired, or never was
 * - `rejected`: all bytes arrived, and the server found them wrong (another SHA-256, a type that is not allowed)
 * - `digest_mismatch`: what was downloaded is not what the server has
 * - `source_changed`: the file is not what it was when its upload began
 * - `source_unreadable`: the file cannot be read
 * - `target_unwritable`: the download cannot be written
 * - `in_use`: another process uploads this file at this moment
 * - `not_remembered`: there is no unfinished upload of it
 * - `direct_unavailable`: the bytes cannot go straight to the bucket; told to `onFallback`, thrown by nothing public
 * - `protocol`: the answer is not one of a tus server
 * - `aborted`: the caller's signal ended it; what arrived stays, and can be resumed
 */
export type ClientErrorCode =
  | 'network'
  | 'refused'
  | 'upload_gone'
  | 'rejected'
  | 'digest_mismatch'
  | 'source_changed'
  | 'source_unreadable'
  | 'target_unwritable'
  | 'in_use'
  | 'not_remembered'
  | 'direct_unavailable'
  | 'protocol'
  | 'aborted';

export interface ClientErrorDetails {
  /** The HTTP status that was answered. */
  status?: number | undefined;
  /** The server's own code for it: its `Landfall-Error` header. */
  serverCode?: string | undefined;
  /** The same may work in a while. */
  isRetryable?: boolean;
  /** The server asks not to be asked again before. */
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

export class ClientError extends Error {
  readonly code: ClientErrorCode;
  readonly status: number | undefined;
  readonly serverCode: string | undefined;
  readonly isRetryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: ClientErrorCode, message: string, details: ClientErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'ClientError';
    this.code = code;
    this.status = details.status;
    this.serverCode = details.serverCode;
    this.isRetryable = details.isRetryable ?? false;
    this.retryAfterMs = details.retryAfterMs;
  }
}

export function isClientError(error: unknown, code?: ClientErrorCode): error is ClientError {
  return error instanceof ClientError && (code === undefined || error.code === code);
}

/** What a caller's signal does to whatever waits for it. */
export function abortedError(signal: AbortSignal): ClientError {
  return new ClientError('aborted', 'interrupted', { cause: signal.reason });
}
