import { isStoreError } from '../stores/errors.ts';

interface ErrorDefinition {
  status: number;
  /** A sentence for the client; says what is wrong and what to do. */
  message: string;
  /** Seconds for a Retry-After header, where the same request can work in a moment. */
  retryAfterSeconds?: number;
}

/**
 * Every error that a client can see: its stable code, its HTTP status and its default sentence.
 * `docs/errors.md` is generated from this table, and a test holds the two together.
 */
export const ERRORS = {
  invalid_request: { status: 400, message: 'The request is malformed.' },
  invalid_header: { status: 400, message: 'A header has an invalid value.' },
  invalid_length: {
    status: 400,
    message: 'Exactly one of Upload-Length (a non-negative integer) and Upload-Defer-Length: 1 is required.',
  },
  invalid_offset_header: { status: 400, message: 'Upload-Offset must be given, as a non-negative integer.' },
  invalid_metadata: {
    status: 400,
    message: 'Upload-Metadata must be comma-separated pairs of a unique ASCII key and a base64 value.',
  },
  metadata_required: { status: 400, message: 'The metadata lacks a key that this server requires.' },
  invalid_form: { status: 400, message: 'The body is not a well-formed multipart/form-data form.' },
  invalid_checksum: {
    status: 400,
    message: 'The declared checksum must be "sha256" and a digest in base64 or hexadecimal.',
  },
  invalid_concat: {
    status: 400,
    message:
      'Upload-Concat must be "partial", or "final;" and the addresses of partial uploads of this server.',
  },
  direct_needs_multipart: {
    status: 400,
    message: 'This storage takes no forms: send the file in parts (POST /s3/multipart), whatever its size.',
  },
  part_out_of_range: { status: 400, message: 'The upload has no part of this number.' },
  partial_unfinished: { status: 400, message: 'A partial upload of the list is not finished yet.' },
  invalid_cursor: { status: 400, message: 'The cursor is not one that this server gave out.' },
  length_already_set: { status: 400, message: 'The length of this upload is known and cannot be changed.' },
  length_below_offset: { status: 400, message: 'Upload-Length is less than what is already stored.' },
  inconsistent_length: {
    status: 400,
    message: 'Upload-Length, the length of the body and what is already stored contradict each other.',
  },
  upload_completed: { status: 400, message: 'The upload is complete: nothing can be appended to it.' },
  unsupported_checksum: {
    status: 400,
    message:
      'Upload-Checksum has an algorithm that this server does not know: OPTIONS lists those that it does.',
  },
  unsupported_digest: { status: 400, message: 'The only digest that is verified here is sha-256.' },
  digest_mismatch: { status: 400, message: 'The digest of what arrived is not the one that was declared.' },
  upload_refused: { status: 400, message: 'The upload was refused by a hook of this server.' },
  upload_stopped: { status: 400, message: 'The upload was stopped and removed by a hook of this server.' },
  termination_refused: { status: 400, message: 'A hook of this server wants this upload to be kept.' },
  unauthorized: { status: 401, message: 'An Authorization header with the bearer token is required.' },
  forbidden: {
    status: 403,
    message: 'This address may only be used from the machine itself, or with a token.',
  },
  signature_invalid: {
    status: 403,
    message: 'This needs a signed URL, and the signature of this one is missing or wrong.',
  },
  signature_expired: { status: 403, message: 'This signed URL has expired: ask for a new one.' },
  final_upload: {
    status: 403,
    message: 'This is a final upload, made of partial ones: nothing can be appended to it.',
  },
  direct_token_invalid: {
    status: 403,
    message: 'The uploadId and the key do not name an upload that you may work on.',
  },
  direct_upload: {
    status: 403,
    message: 'The bytes of this upload go straight to the storage: nothing can be appended to it here.',
  },
  direct_unavailable: {
    status: 404,
    message: 'This server takes no uploads straight to its storage: send them through it, by tus.',
  },
  not_found: { status: 404, message: 'There is nothing at this address.' },
  upload_not_found: { status: 404, message: 'There is no upload at this address.' },
  preview_not_found: { status: 404, message: 'There is no such preview of this upload.' },
  partial_not_found: {
    status: 404,
    message:
      'A partial upload of the list is not there: it was deleted, has expired, or is part of another upload.',
  },
  method_not_allowed: { status: 405, message: 'This address does not take this method.' },
  idle_timeout: {
    status: 408,
    message: 'No bytes arrived for too long. What had arrived is stored: ask for the offset and resume.',
  },
  request_timeout: { status: 408, message: 'The request was not sent completely in time.' },
  offset_mismatch: {
    status: 409,
    message: 'Upload-Offset is not the current offset of the upload. Ask for it with HEAD.',
  },
  digest_conflict: {
    status: 409,
    message: 'Another digest was declared for this upload before: the first one counts.',
  },
  parts_mismatch: {
    status: 409,
    message:
      'What is stored of this upload is not what was declared or named. List the parts, send again what is wrong, and complete it once more.',
  },
  upload_unfinished: { status: 409, message: 'The upload is not finished yet.' },
  digest_too_late: {
    status: 409,
    message: 'The upload was completed before this digest was declared, and has not been verified.',
  },
  upload_pending: {
    status: 409,
    message: 'The upload is complete and still being verified.',
    retryAfterSeconds: 1,
  },
  upload_unverified: {
    status: 409,
    message:
      'The upload is complete, but could not be verified. It is not served before an operator has looked.',
  },
  upload_gone: { status: 410, message: 'The upload expired or was deleted.' },
  upload_rejected: { status: 410, message: 'The upload was rejected.' },
  unsupported_tus_version: {
    status: 412,
    message: 'Tus-Resumable must be 1.0.0, the version of the protocol that this server speaks.',
  },
  size_limit: { status: 413, message: 'The upload is larger than this server accepts.' },
  form_too_large: { status: 413, message: 'The form has too many parts, or a field that is too large.' },
  body_too_large: { status: 413, message: 'The body is longer than what is left of the upload.' },
  checksum_body_too_large: {
    status: 413,
    message: 'A request with a checksum may not be this large: send smaller chunks.',
  },
  unsupported_media_type: {
    status: 415,
    message: 'The Content-Type must be application/offset+octet-stream.',
  },
  type_not_allowed: { status: 415, message: 'This server does not accept files of this type.' },
  unsupported_content_coding: {
    status: 415,
    message: 'A Content-Encoding is not accepted: send the bytes as they are to be stored.',
  },
  upload_locked: {
    status: 423,
    message: 'Another request is working on this upload.',
    retryAfterSeconds: 1,
  },
  upload_released: {
    status: 423,
    message:
      'A newer request took this upload over. What had arrived is stored: ask for the offset and resume.',
    retryAfterSeconds: 1,
  },
  upload_busy: {
    status: 423,
    message: 'The state of the upload cannot be told at this moment. Ask again.',
    retryAfterSeconds: 1,
  },
  too_many_uploads: {
    status: 429,
    message: 'You have as many unfinished uploads as this server allows. Finish or delete one of them first.',
    retryAfterSeconds: 30,
  },
  checksum_mismatch: {
    status: 460,
    message: 'The body is not what Upload-Checksum says. Nothing of it was stored: send it again.',
  },
  headers_too_large: { status: 431, message: 'The request headers are too large.' },
  hook_failed: { status: 500, message: 'A hook of this server that has to be asked failed. Try again.' },
  internal: { status: 500, message: 'The server failed to handle this request.' },
  upload_damaged: {
    status: 500,
    message: 'The stored state of this upload is damaged: an operator must look.',
  },
  unsupported_extension: { status: 501, message: 'This server does not offer that protocol extension.' },
  shutting_down: {
    status: 503,
    message: 'The server is shutting down. What had arrived is stored: resume in a moment.',
    retryAfterSeconds: 1,
  },
  store_unavailable: {
    status: 503,
    message: 'The storage cannot be reached. What was acknowledged is stored: resume in a moment.',
    retryAfterSeconds: 5,
  },
  not_ready: { status: 503, message: 'The server is not ready to take uploads.', retryAfterSeconds: 5 },
  storage_full: { status: 507, message: 'The storage is full.', retryAfterSeconds: 60 },
} as const satisfies Record<string, ErrorDefinition>;

export type ErrorCode = keyof typeof ERRORS;

/** An error that a client may see. `message` is public; `cause` goes to the log only. */
export class HttpError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
  /** Why, where there are several known reasons: a code of its own. */
  readonly reason: string | undefined;

  constructor(code: ErrorCode, options: { message?: string; reason?: string; cause?: unknown } = {}) {
    const definition: ErrorDefinition = ERRORS[code];
    super(
      options.message ?? definition.message,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'HttpError';
    this.code = code;
    this.status = definition.status;
    this.retryAfterSeconds = definition.retryAfterSeconds;
    this.reason = options.reason;
  }
}

export function isHttpError(error: unknown, code?: ErrorCode): error is HttpError {
  return error instanceof HttpError && (code === undefined || error.code === code);
}

/** Any thrown value as an error that a client may see. What we do not know becomes `internal`, its text unseen. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (isStoreError(error)) {
    return new HttpError(error.code === 'lock_lost' ? 'store_unavailable' : error.code, { cause: error });
  }
  return new HttpError('internal', { cause: error });
}
