import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { isPartialUpload } from '../../stores/concat-kind.ts';
import { isStoreError } from '../../stores/errors.ts';
import type { UploadRecord } from '../../stores/types.ts';
import { HttpError, toHttpError } from '../errors.ts';
import { sendOriginal } from '../media/send-original.ts';
import { recordOf } from './finish.ts';
import { UploadHold, type UploadServices } from './upload-hold.ts';

/** `GET <base path>/:id`: the original, once it may be served. Not by @tus/server's handler, whose web stream of a
 * file ends the process when the client goes away. */
export async function sendUpload(
  services: UploadServices,
  id: string,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  try {
    const record = await servableRecord(services, id, req).catch((error: unknown) => {
      if (!isStoreError(error, 'store_unavailable')) throw error;
      return recordByStore(services, id, error);
    });
    const reader = await services.store.openOriginal(id);
    await sendOriginal(req, res, reader, {
      contentType: record.contentType,
      filename: record.filename,
      disposition: 'attachment',
      // A client that takes no byte for this long is cut off.
      stallTimeoutMs: services.idleTimeoutMs,
      log: services.log,
    });
  } catch (error) {
    sendDownloadError(error, id, res, services.log);
  }
}

/** @throws HttpError upload_unfinished, upload_pending, upload_rejected, upload_gone; StoreError */
async function servableRecord(
  services: UploadServices,
  id: string,
  req: IncomingMessage,
): Promise<UploadRecord> {
  let record = await services.catalog.get(id);
  if (record === undefined || record.state === 'receiving') record = await finishedRecord(services, id, req);
  switch (record.state) {
    case 'ready':
    case 'failed':
      return record;
    case 'receiving':
      throw new HttpError('upload_unfinished');
    case 'received':
    case 'processing':
      throw new HttpError('upload_pending');
    case 'rejected':
      throw new HttpError('upload_rejected', record.reason === null ? {} : { message: record.reason });
    case 'aborted':
    case 'expired':
      throw new HttpError('upload_gone');
  }
}

/**
 * The catalog may have lost its last rows in a crash, or all of them: the store decides. What is full there is
 * finished here, as a HEAD would do it, so that an upload which was announced as finished is served from the first
 * moment after a restart on.
 */
async function finishedRecord(
  services: UploadServices,
  id: string,
  { socket }: IncomingMessage,
): Promise<UploadRecord> {
  // Asked without the lock first: taking it would interrupt an upload that is being received.
  if (!(await services.store.getUpload(id)).isFull) throw new HttpError('upload_unfinished');
  const hold = new UploadHold(services, id);
  try {
    await hold.lock(socket);
    return await services.finisher.ensureRecord(await hold.open({ for: 'read' }));
  } finally {
    await hold.unlock();
  }
}

/**
 * What the store alone can say while the catalog or the locks cannot be reached: a finished upload whose content
 * nobody has to judge is served as ever. For any other one the catalog has the verdict.
 *
 * @param unreachable thrown where the catalog is needed
 * @throws HttpError upload_unfinished; StoreError
 */
async function recordByStore(
  { store, finisher, policy }: UploadServices,
  id: string,
  unreachable: unknown,
): Promise<UploadRecord> {
  const upload = await store.getUpload(id);
  if (!upload.isFull || isPartialUpload(upload.concat)) throw new HttpError('upload_unfinished');
  const isJudged = finisher.needsDigest(upload) || policy.headBytesOf(upload) > 0;
  if (isJudged || !upload.isComplete) throw unreachable;
  return { ...recordOf(upload), state: 'ready' };
}

function sendDownloadError(error: unknown, id: string, res: ServerResponse, log: FastifyBaseLogger): void {
  const httpError = toHttpError(error);
  if (httpError.status >= 500 && !isStoreError(error, 'upload_damaged')) {
    log.error({ uploadId: id, code: httpError.code, error: httpError.cause ?? error }, 'download failed');
  }
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const body = `${httpError.message}\n`;
  if (httpError.retryAfterSeconds !== undefined) res.setHeader('retry-after', httpError.retryAfterSeconds);
  res.writeHead(httpError.status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'landfall-error': httpError.code,
  });
  res.end(body);
}
