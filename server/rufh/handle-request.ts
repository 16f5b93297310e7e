import type { Reply } from '../tus/reply.ts';
import type { UploadServices } from '../uploads/upload-hold.ts';
import { problemReply } from './answer.ts';
import { allowedMethods, RufhExchange, type RufhRequest } from './exchange.ts';

/** Runs one request of draft-ietf-httpbis-resumable-upload to its reply. Never rejects. */
export async function handleRufhRequest(services: UploadServices, request: RufhRequest): Promise<Reply> {
  const exchange = new RufhExchange(services, request);
  try {
    return await exchange.run();
  } catch (error) {
    const reply = problemReply(error, request, exchange.known, services.log);
    // RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
    if (reply.status === 405) reply.headers.allow = allowedMethods(request.id).join(', ');
    return reply;
  }
}
