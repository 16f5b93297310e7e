import { type S3Failure, S3PortError } from './port.ts';

/** Codes of a multipart upload that is not there; DigitalOcean Spaces says NoSuchKey. */
const NO_SUCH_UPLOAD = new Set(['NoSuchUpload', 'NoSuchKey']);
const INVALID_PART = new Set(['InvalidPart', 'InvalidPartOrder', 'EntityTooSmall']);
/** 4xx answers that a repetition may get past. */
const TRANSIENT = new Set([
  'RequestTimeout',
  'ConditionalRequestConflict',
  'OperationAborted',
  'TooManyRequests',
  'Throttling',
  'ThrottlingException',
  'SlowDown',
]);

/** Boils whatever the SDK threw down to what may be done next. */
export function toPortError(error: unknown, isMultipartCall: boolean): S3PortError {
  if (error instanceof S3PortError) return error;
  const { code, status } = describe(error);
  const failure = classify(code, status, isMultipartCall);
  return new S3PortError(failure, `S3 answered ${status ?? 'nothing'} ${code}`, { cause: error });
}

/** A call about an object, its failure as one of the port. */
export function onObject<T>(run: () => Promise<T>): Promise<T> {
  return call(false, run);
}

/** A call about a multipart upload, its failure as one of the port: what is missing is the upload. */
export function onMultipart<T>(run: () => Promise<T>): Promise<T> {
  return call(true, run);
}

async function call<T>(isMultipartCall: boolean, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toPortError(error, isMultipartCall);
  }
}

/** @throws S3PortError */
export function requireEtag(etag: string | undefined): string {
  if (etag === undefined || etag === '') throw new S3PortError('ambiguous', 'the answer had no entity tag');
  return etag;
}

function classify(code: string, status: number | undefined, isMultipartCall: boolean): S3Failure {
  if (status === undefined || status >= 500 || status === 429 || TRANSIENT.has(code)) return 'ambiguous';
  if (status === 412 || code === 'PreconditionFailed') return 'precondition_failed';
  if (INVALID_PART.has(code)) return 'invalid_part';
  if (status === 404 && code !== 'NoSuchBucket') {
    if (!isMultipartCall) return 'not_found';
    // A 404 without a code of S3's (a proxy's?) says nothing about the upload.
    return NO_SUCH_UPLOAD.has(code) ? 'no_such_upload' : 'refused';
  }
  // 2xx: the answer was cut short or could not be read.
  return status >= 400 ? 'refused' : 'ambiguous';
}

function describe(error: unknown): { code: string; status: number | undefined } {
  if (typeof error !== 'object' || error === null) return { code: 'unknown', status: undefined };
  const { name, Code, $metadata } = error as {
    name?: unknown;
    Code?: unknown;
    $metadata?: { httpStatusCode?: number };
  };
  const code = typeof Code === 'string' ? Code : typeof name === 'string' ? name : 'unknown';
  return { code, status: $metadata?.httpStatusCode };
}
