import { HttpError } from '../errors.ts';
import type { Reply } from '../tus/reply.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { problemReply } from './answer.ts';
import { answerAppend } from './append.ts';
import { answerCancellation } from './cancellation.ts';
import { answerCreation } from './creation.ts';
import { RufhExchange, type RufhRequest } from './exchange.ts';
import { answerOffsetRetrieval } from './offset-retrieval.ts';

/** Runs one request of draft-ietf-httpbis-resumable-upload to its reply. Never rejects. */
export async function handleRufhRequest(services: UploadServices, request: RufhRequest): Promise<Reply> {
  const exchange = new RufhExchange(services, request);
  try {
    return await run(exchange);
  } catch (error) {
    const reply = problemReply(error, request, exchange.known, services.log);
    // RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
    if (reply.status === 405) reply.headers.allow = allowedMethods(request.id).join(', ');
    return reply;
  }
}

/** @throws HttpError, StoreError */
async function run(exchange: RufhExchange): Promise<Reply> {
  const { method, id } = exchange.request;
  if (exchange.services.active.isDraining) throw new HttpError('shutting_down');
  if (id === undefined) throw new HttpError('upload_not_found');
  if (!allowedMethods(id).includes(method)) throw new HttpError('method_not_allowed');
  try {
    if (id === '') return await answerCreation(exchange);
    if (method === 'PATCH') return await answerAppend(exchange);
    return method === 'HEAD' ? await answerOffsetRetrieval(exchange) : await answerCancellation(exchange);
  } finally {
    await exchange.hold.unlock();
  }
}

function allowedMethods(id: string | undefined): string[] {
  return id === '' ? ['POST', 'PUT'] : ['HEAD', 'PATCH', 'DELETE'];
}
