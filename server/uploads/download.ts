import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { isStoreError } from '../../stores/errors.ts';
import type { UploadCatalog, UploadRecord, UploadStore } from '../../stores/types.ts';
import { HttpError, toHttpError } from '../errors.ts';
import { sendOriginal } from '../media/send-original.ts';
import type { Finisher } from './finish.ts';

export interface DownloadServices {
  store: UploadStore;
  catalog: UploadCatalog;
  finisher: Finisher;
  log: FastifyBaseLogger;
  /** A client that takes no byte for this long is cut off. 0: never. */
  idleTimeoutMs: number;
}

/** `GET <base path>/:id`: the original, once it may be served. Not by @tus/server's handler, whose web stream of a
 * file ends the process when the client goes away. */
export async function sendUpload(
  services: DownloadServices,
  id: string,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  try {
    const record = await servableRecord(services, id);
    const reader = await services.store.openOriginal(id);
    await sendOriginal(req, res, reader, {
      contentType: record.contentType,
      filename: record.filename,
      disposition: 'attachment',
      stallTimeoutMs: services.idleTimeoutMs,
      log: services.log,
    });
  } catch (error) {
    sendDownloadError(error, id, res, services.log);
  }
}

async function servableRecord(
  { store, catalog, finisher }: DownloadServices,
  id: string,
): Promise<UploadRecord> {
  let record = await catalog.get(id);
  if (record === undefined) {
    const upload = await store.getUpload(id);
    if (!upload.isFull) throw new HttpError('upload_unfinished');
    record = await finisher.ensureRecord(upload);
  }
  switch (record.state) {
    case 'ready':
      return record;
    case 'receiving': {
      // The catalog may lag behind, or know of an upload that never was: the store decides.
      await store.getUpload(id);
      throw new HttpError('upload_unfinished');
    }
    case 'received':
    case 'processing':
      throw new HttpError('upload_pending');
    case 'failed':
      return record;
    case 'rejected':
      throw new HttpError('upload_rejected', record.reason === null ? {} : { message: record.reason });
    case 'aborted':
    case 'expired':
      throw new HttpError('upload_gone');
  }
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
