/**
 * Errors that stores, lockers and catalogs throw. They carry a stable `code`; which HTTP status and which
 * sentence a client sees is decided in one table, `server/errors.ts`.
 */
export type StoreErrorCode =
  /** No upload has this id (or never had). */
  | 'upload_not_found'
  /** The upload existed and is no more: expired, deleted or rejected. */
  | 'upload_gone'
  /** Somebody else holds the upload's lock and did not give it up in time. */
  | 'upload_locked'
  /** The stored state cannot be told right now; the same request may work in a moment. */
  | 'store_unavailable'
  /** The disk or the quota is full. */
  | 'storage_full'
  /** What is stored contradicts itself (a torn info file, two versions of the same bytes). An operator must look. */
  | 'upload_damaged'
  /** The length of the upload is already known and may not change. */
  | 'length_already_set'
  /** The declared length is less than what is already stored. */
  | 'length_below_offset'
  /** What a client sent straight to the bucket is not the upload that it declared, or no whole upload. */
  | 'parts_mismatch'
  /** Our lock was lost while we held it: nothing more may be written. */
  | 'lock_lost'
  /** A single checksummed request is larger than what can be kept until it is verified. */
  | 'checksum_body_too_large';

/** A failure of a store, locker, catalog or queue. `retryable`: the same call may succeed later. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  readonly retryable: boolean;

  constructor(code: StoreErrorCode, message: string, options: { cause?: unknown; retryable?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StoreError';
    this.code = code;
    this.retryable =
      options.retryable ?? (code === 'upload_locked' || code === 'store_unavailable' || code === 'lock_lost');
  }
}

export function isStoreError(error: unknown, code?: StoreErrorCode): error is StoreError {
  return error instanceof StoreError && (code === undefined || error.code === code);
}

/** There is no such upload, or not any more. */
export function isUploadMissing(error: unknown): error is StoreError {
  return isStoreError(error, 'upload_not_found') || isStoreError(error, 'upload_gone');
}
