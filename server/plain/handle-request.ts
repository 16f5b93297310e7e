import { type ErrorCode, type HttpError, toHttpError } from '../errors.ts';
import { checkOrigin } from '../plugins/check-origin.ts';
import type { Cors } from '../plugins/cors.ts';
import type { Reply } from '../tus/reply.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import type { PlainRequest } from './plain-request.ts';
import { putUpload } from './put-upload.ts';
import { receiveForm } from './receive-form.ts';

/** Where the table's sentence tells the client to resume, which it cannot. */
const MESSAGES: Partial<Record<ErrorCode, string>> = {
  idle_timeout: 'No bytes arrived for too long. Nothing was stored.',
  upload_released: 'The request was ended. Nothing was stored: send it again.',
  shutting_down: 'The server is shutting down. Nothing was stored: send it again in a moment.',
  store_unavailable: 'The storage cannot be reached. Nothing was stored: send it again in a moment.',
};

/** Runs one plain upload to its reply: JSON, whichever way it goes. Never rejects. */
export async function handlePlainUpload(
  services: UploadServices,
  request: PlainRequest & { host: string },
  cors: Cors,
): Promise<Reply> {
  try {
    checkOrigin(cors, request.raw.headers.origin, request.host);
    if (request.method === 'POST') return jsonReply(201, await receiveForm(services, request));
    const stored = await putUpload(services, request);
    const reply = jsonReply(201, stored);
    reply.headers.location = stored.url;
    return reply;
  } catch (error) {
    const httpError = toHttpError(error);
    if (httpError.status >= 500) {
      services.log.error(
        { method: request.method, code: httpError.code, error: httpError.cause ?? error },
        'plain upload failed',
      );
    }
    return errorReply(httpError);
  }
}

function errorReply({ code, status, message, retryAfterSeconds }: HttpError): Reply {
  const reply = jsonReply(status, { error: { code, message: MESSAGES[code] ?? message } });
  reply.headers['landfall-error'] = code;
  if (retryAfterSeconds !== undefined) reply.headers['retry-after'] = String(retryAfterSeconds);
  return reply;
}

function jsonReply(status: number, body: unknown): Reply {
  const headers = { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' };
  return { status, headers, body: `${JSON.stringify(body)}\n` };
}
