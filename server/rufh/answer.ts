import { STATUS_CODES } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { type ErrorCode, type HttpError, toHttpError } from '../errors.ts';
import type { Reply } from '../tus/reply.ts';
import { PARTIAL_UPLOAD_TYPE } from './detect.ts';
import type { RufhVersion } from './versions.ts';

/** What is known of the upload while its request is handled: what an answer, good or bad, may say. */
export interface KnownState {
  /** Stored bytes; undefined where a number could be wrong ("a guarantee that no retransmission […] necessary"). */
  offset: number | undefined;
  isComplete: boolean;
  /** Address of the upload that this request created. */
  location: string | undefined;
  /** `Upload-Limit`. */
  limit: string | undefined;
  /** `Upload-Offset` of the request. */
  requestOffset: number | undefined;
}

export interface AnsweredRequest {
  version: RufhVersion;
  method: string;
  id: string | undefined;
}

const PROBLEM_TYPES = 'https://iana.org/assignments/http-problem-types#';

/** Problem types (RFC 9457) and their titles; of the draft, and of draft-ietf-httpapi-digest-fields-problem-types. */
const PROBLEMS: Partial<Record<ErrorCode, { type: string; title: string }>> = {
  offset_mismatch: {
    type: 'mismatching-upload-offset',
    title: 'offset from request does not match offset of resource',
  },
  inconsistent_length: {
    type: 'inconsistent-upload-length',
    title: 'inconsistent length values for upload',
  },
  upload_completed: { type: 'completed-upload', title: 'upload is already completed' },
  unsupported_digest: { type: 'digest-unsupported-algorithms', title: 'Unsupported Hashing Algorithms' },
  invalid_checksum: { type: 'digest-invalid-values', title: 'Invalid Digest Values' },
  digest_mismatch: { type: 'digest-mismatched-values', title: 'Mismatched Digest Values' },
};

/** `Upload-Complete: ?1`, or what says the same in the client's version. */
export function completenessHeader(
  { completeness }: RufhVersion,
  isComplete: boolean,
): Record<string, string> {
  const isOne = completeness === 'upload-incomplete' ? !isComplete : isComplete;
  return { [completeness]: isOne ? '?1' : '?0' };
}

/** The headers that every answer about an upload has, as far as they are known. */
export function stateHeaders(version: RufhVersion, known: KnownState): Record<string, string> {
  return {
    ...completenessHeader(version, known.isComplete),
    ...(known.offset === undefined ? {} : { 'upload-offset': String(known.offset) }),
    ...(known.location === undefined ? {} : { location: known.location }),
    ...(known.limit === undefined ? {} : { 'upload-limit': known.limit }),
  };
}

/** The answer to anything that failed: `application/problem+json`, with the true state where it is known. */
export function problemReply(
  error: unknown,
  request: AnsweredRequest,
  known: KnownState,
  log: FastifyBaseLogger,
): Reply {
  const httpError = toHttpError(error);
  const { version, method, id } = request;
  if (httpError.status >= 500) {
    log.error(
      { uploadId: id, method, code: httpError.code, error: httpError.cause ?? error },
      'resumable upload request failed',
    );
  }
  const status = statusOf(httpError, version);
  const headers: Record<string, string> = {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    'landfall-error': httpError.code,
  };
  const isTransfer = method !== 'HEAD' && method !== 'DELETE';
  if (isTransfer) Object.assign(headers, stateHeaders(version, known));
  if (httpError.retryAfterSeconds !== undefined) headers['retry-after'] = String(httpError.retryAfterSeconds);
  // RFC 5789, 2.2 and RFC 9110, 15.5.16: a 415 says what would have been taken.
  if (httpError.code === 'unsupported_media_type') headers['accept-patch'] = PARTIAL_UPLOAD_TYPE;
  if (httpError.code === 'unsupported_content_coding') headers['accept-encoding'] = 'identity';
  if (httpError.code === 'unsupported_digest') headers['want-repr-digest'] = 'sha-256=10';
  return { status, headers, body: JSON.stringify(problemOf(httpError, status, version, known)) };
}

function problemOf(error: HttpError, status: number, version: RufhVersion, known: KnownState) {
  const problem = PROBLEMS[error.code];
  const type = error.code === 'upload_completed' ? version.completedProblem : problem?.type;
  return {
    // RFC 9457, 4.2.1: with about:blank the title is the status phrase.
    type: type === undefined ? 'about:blank' : `${PROBLEM_TYPES}${type}`,
    title: problem?.title ?? STATUS_CODES[status],
    status,
    detail: error.message,
    code: error.code,
    ...(error.code === 'offset_mismatch'
      ? { 'expected-offset': known.offset, 'provided-offset': known.requestOffset }
      : {}),
  };
}

/**
 * The table of errors is made for tus, whose clients retry a 423. This draft's clients end the upload at a 4xx and
 * resume after a 5xx: a lock that was not free in time is a 503 to them.
 */
function statusOf({ status }: HttpError, version: RufhVersion): number {
  if (status === 423) return 503;
  if (status === 410 && version.isGone404) return 404;
  return status;
}
