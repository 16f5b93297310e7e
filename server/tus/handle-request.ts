import { ERRORS as STOCK_ERRORS } from '@tus/utils';
import type { FastifyBaseLogger } from 'fastify';
import { isFinalUpload, isPartialUpload } from '../../stores/concat-kind.ts';
import { type ErrorCode, HttpError, toHttpError } from '../errors.ts';
import { createFinalUpload } from './final-request.ts';
import type { Reply } from './reply.ts';
import { type SessionRequest, type SessionServices, TusSession } from './session.ts';
import { isStockError, type StockHandlers, type StockReply } from './stock-handlers.ts';
import { headerText, TUS_VERSION } from './tus-headers.ts';
import { CHECKSUM_ALGORITHMS } from './upload-checksum.ts';

/** Statuses of 500 and more that are no failure of ours. */
const EXPECTED: readonly ErrorCode[] = ['shutting_down', 'unsupported_extension'];

/** Runs one tus request to its reply. Never rejects. */
export async function handleTusRequest(
  services: SessionServices,
  stock: StockHandlers,
  request: SessionRequest,
): Promise<Reply> {
  try {
    checkVersion(request);
    if (request.method === 'POST' && isFinalUpload(headerText(request.raw.headers, 'upload-concat'))) {
      return await createFinalUpload(services, request);
    }
    let session = new TusSession(services, request);
    session.validate();
    if (request.method === 'POST' && services.hooks !== undefined) session = await session.plan(services);
    const response = await stock.handle(session);
    return replyOf(session, response);
  } catch (error) {
    return errorReply(error, request, services.log);
  }
}

/**
 * tus 1.0.0: "If the version specified by the Client is not supported by the Server, it MUST respond with the 412
 * Precondition Failed status and MUST include the Tus-Version header. […] the Server MUST NOT process the request."
 */
function checkVersion({ method, raw }: SessionRequest): void {
  if (method !== 'OPTIONS' && raw.headers['tus-resumable'] !== TUS_VERSION) {
    throw new HttpError('unsupported_tus_version');
  }
}

function replyOf(session: TusSession, response: StockReply): Reply {
  const headers: Record<string, string> = { 'tus-resumable': TUS_VERSION };
  for (const [name, value] of response.headers) {
    // CORS has one owner (server/plugins/cors.ts); the connection is the reply's business.
    if (name.startsWith('access-control-') || name === 'connection' || name === 'content-type') continue;
    headers[name] = value;
  }
  const { upload } = session;
  if (session.method === 'OPTIONS' && session.store.extensions.includes('checksum')) {
    // tus 1.0.0, Checksum: "The Tus-Checksum-Algorithm header MUST be included in the response to an OPTIONS request."
    headers['tus-checksum-algorithm'] = CHECKSUM_ALGORITHMS;
  }
  if (session.method === 'HEAD') {
    headers['cache-control'] = 'no-store';
    // tus 1.0.0: "the Upload-Metadata header and its value as specified by the Client during the creation."
    if (upload?.rawMetadata !== undefined) headers['upload-metadata'] = upload.rawMetadata;
  }
  // "MUST include the Upload-Concat header and its value as received in the upload creation request."
  if ((session.method === 'HEAD' || session.method === 'POST') && upload?.concat !== undefined) {
    headers['upload-concat'] = upload.concat;
  }
  const isKept = upload?.isFull === true && !isPartialUpload(upload.concat);
  if (session.method !== 'OPTIONS' && upload?.expiresAtMs !== undefined && !isKept) {
    headers['upload-expires'] = new Date(upload.expiresAtMs).toUTCString();
  }
  return { status: response.status, headers, body: '' };
}

export function errorReply(error: unknown, request: SessionRequest, log: FastifyBaseLogger): Reply {
  let httpError = fromStock(error) ?? toHttpError(error);
  if (httpError.status >= 500) {
    if (!EXPECTED.includes(httpError.code)) {
      log.error(
        {
          uploadId: request.id,
          method: request.method,
          code: httpError.code,
          error: httpError.cause ?? error,
        },
        'tus request failed',
      );
    }
    // tus-js-client takes any answer to HEAD but 423 for the end of the upload, and starts from zero.
    if (request.method === 'HEAD' && httpError.code !== 'upload_damaged') {
      httpError = new HttpError('upload_busy', { cause: httpError });
    }
  }
  const headers: Record<string, string> = {
    'tus-resumable': TUS_VERSION,
    'content-type': 'text/plain; charset=utf-8',
    'landfall-error': httpError.code,
  };
  if (request.method === 'HEAD') headers['cache-control'] = 'no-store';
  if (httpError.code === 'unsupported_tus_version') headers['tus-version'] = TUS_VERSION;
  if (httpError.retryAfterSeconds !== undefined) headers['retry-after'] = String(httpError.retryAfterSeconds);
  return { status: httpError.status, headers, body: `${httpError.message}\n` };
}

/** What @tus/server's handlers throw by themselves, after our own checks have passed. */
function fromStock(error: unknown): HttpError | undefined {
  if (!isStockError(error)) return undefined;
  switch (error) {
    case STOCK_ERRORS.INVALID_OFFSET:
      return new HttpError('offset_mismatch');
    case STOCK_ERRORS.ERR_SIZE_EXCEEDED:
      return new HttpError('body_too_large');
    case STOCK_ERRORS.ERR_MAX_SIZE_EXCEEDED:
      return new HttpError('size_limit');
    case STOCK_ERRORS.INVALID_LENGTH:
      return new HttpError('length_already_set');
    case STOCK_ERRORS.UNSUPPORTED_CREATION_DEFER_LENGTH_EXTENSION:
      return new HttpError('unsupported_extension');
    default:
      return new HttpError('internal', { cause: new Error(error.body) });
  }
}
