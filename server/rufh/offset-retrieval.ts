import type { Reply } from '../tus/reply.ts';
import { stateHeaders } from './answer.ts';
import type { RufhExchange } from './exchange.ts';
import { refuseStateHeaders } from './request-headers.ts';

/** "Offset Retrieval" */
export async function answerOffsetRetrieval(exchange: RufhExchange): Promise<Reply> {
  const { version, raw } = exchange.request;
  refuseStateHeaders(version, raw.headers);
  await exchange.hold.lock(raw.socket);
  const { upload } = await exchange.open({ for: 'read' });
  const headers = stateHeaders(version, exchange.known);
  // "MUST include the length in the Upload-Length header field, unless the client has not supplied one".
  if (upload.size !== undefined) headers['upload-length'] = String(upload.size);
  headers['cache-control'] = 'no-store';
  return { status: 204, headers, body: '' };
}
