import type { Reply } from '../tus/reply.ts';
import type { RufhExchange } from './exchange.ts';
import { refuseStateHeaders } from './request-headers.ts';

/** "Upload Cancellation" */
export async function answerCancellation(exchange: RufhExchange): Promise<Reply> {
  const { version, raw } = exchange.request;
  refuseStateHeaders(version, raw.headers);
  await exchange.hold.lock(raw.socket);
  await exchange.open({ for: 'read' });
  await exchange.hold.terminate();
  return { status: 204, headers: {}, body: '' };
}
