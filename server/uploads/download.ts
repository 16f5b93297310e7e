import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { isStoreError } from '../../stores/errors.ts';
import { toHttpError } from '../errors.ts';
import { sendOriginal } from '../media/send-original.ts';
import { assertServable, finishedOriginal } from './servable-record.ts';
import type { UploadServices } from './upload-services.ts';

/**
 * `GET <base path>/:id`: the original, once it may be served. Not by @tus/server's handler, whose web stream of a
 * file ends the process when the client goes away.
 *
 * @param assertReader rejects with what the request is told, where it may not read this original
 */
export async function sendUpload(
  services: UploadServices,
  id: string,
  req: IncomingMessage,
  res: ServerResponse,
  assertReader: () => Promise<void>,
): Promise<void> {
  try {
    await assertReader();
    const record = await finishedOriginal(services, id, req);
    assertServable(services.plan, record);
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
