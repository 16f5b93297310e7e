import type { IncomingMessage, ServerResponse } from 'node:http';
import { hasBody } from './tus-headers.ts';

export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** This much unread body is read and thrown away to keep the connection; more than that and it is closed. */
const KEEP_ALIVE_REMAINDER_BYTES = 64 * 1024;
/** How long, and for how many bytes, a closing connection goes on reading what the client still sends. */
const LINGER_MS = 2_000;
const LINGER_BYTES = 16 * 1024 * 1024;

/**
 * Answers a request whose body may not have been read to its end.
 *
 * Closing a socket that has unread bytes in it makes the kernel send a reset, and the client may then never see the
 * answer; reading on until the client is done could be 20 GB. So: answer completely, say `Connection: close`,
 * read on for a moment, then close.
 */
export function sendReply(req: IncomingMessage, res: ServerResponse, reply: Reply): void {
  if (res.destroyed || res.writableEnded) return;
  const hasPayload = reply.body !== '' && req.method !== 'HEAD';
  if (reply.status !== 204) reply.headers['content-length'] = String(Buffer.byteLength(reply.body));
  if (req.method === 'HEAD' && reply.body === '') delete reply.headers['content-length'];

  // A status of tus' own, which Node has no words for.
  if (reply.status === 460) res.statusMessage = 'Checksum Mismatch';
  const mustLinger =
    hasBody(req.headers) && !req.readableEnded && unreadBytes(req) > KEEP_ALIVE_REMAINDER_BYTES;
  if (!mustLinger) {
    res.writeHead(reply.status, reply.headers);
    res.end(hasPayload ? reply.body : undefined);
    return;
  }
  reply.headers.connection = 'close';
  res.writeHead(reply.status, reply.headers);
  if (hasPayload) res.write(reply.body);
  else res.flushHeaders();
  lingerThenEnd(req, res);
}

function lingerThenEnd(req: IncomingMessage, res: ServerResponse): void {
  let discarded = 0;
  const end = () => {
    clearTimeout(timer);
    req.off('data', onData);
    res.end();
  };
  const onData = (chunk: Buffer) => {
    discarded += chunk.length;
    if (discarded > LINGER_BYTES) end();
  };
  const timer = setTimeout(end, LINGER_MS);
  req.on('data', onData);
  req.once('end', end);
  req.once('close', end);
  req.once('error', () => {});
  req.resume();
}

/** Bytes of body that may still come; Infinity for a chunked body. */
function unreadBytes(req: IncomingMessage): number {
  const announced = req.headers['content-length'];
  return announced === undefined ? Number.POSITIVE_INFINITY : Number(announced);
}
