import http, { type OutgoingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import type { HttpReply } from './tus.ts';

export interface RawReply {
  status: number;
  /** The words behind it. */
  reason: string;
  /** Names in lower case. A repeated header's last value wins. */
  headers: Record<string, string>;
  body: string;
}

export interface RawOptions {
  /** End our side of the connection so long after the last byte. Default: never. */
  halfCloseAfterMs?: number;
  /** After this the request counts as hanging. */
  timeoutMs?: number;
}

/**
 * Sends bytes as they are on a connection of their own, and resolves with the first final answer, or undefined when
 * the connection ended without one. Rejects when neither happens in time: the server hangs.
 */
export function sendRaw(
  port: number,
  bytes: string | Buffer,
  { halfCloseAfterMs, timeoutMs = 5_000 }: RawOptions = {},
): Promise<RawReply | undefined> {
  return new Promise((resolve, reject) => {
    const hasNoBody = bytes.toString('latin1').startsWith('HEAD ');
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let received = Buffer.alloc(0);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(
        new Error(
          `no answer in ${timeoutMs} ms to ${JSON.stringify(bytes.toString('latin1').slice(0, 500))}`,
        ),
      );
    }, timeoutMs);
    const finish = (reply: RawReply | undefined) => {
      clearTimeout(timer);
      clearTimeout(endTimer);
      socket.destroy();
      resolve(reply);
    };
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      const reply = parseReply(received, hasNoBody);
      if (reply !== undefined) finish(reply);
    });
    // A reset after the answer, or instead of it.
    socket.on('error', () => finish(parseReply(received, true)));
    socket.on('end', () => finish(parseReply(received, true)));
    if (halfCloseAfterMs === 0) socket.end(bytes);
    else socket.write(bytes);
    const endTimer = halfCloseAfterMs && setTimeout(() => socket.end(), halfCloseAfterMs);
  });
}

/** The first answer that is not an interim one, once all of it is there. */
function parseReply(received: Buffer, hasNoBody: boolean): RawReply | undefined {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd === -1) return undefined;
  const [statusLine = '', ...lines] = received.subarray(0, headEnd).toString('latin1').split('\r\n');
  const [, code, reason = ''] = /^HTTP\/1\.1 (\d{3}) ?(.*)/.exec(statusLine) ?? [];
  const status = Number(code);
  const rest = received.subarray(headEnd + 4);
  if (status < 200) return parseReply(rest, hasNoBody);
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const length = hasNoBody || status === 204 || status === 304 ? 0 : Number(headers['content-length'] ?? 0);
  if (rest.length < length) return undefined;
  return { status, reason, headers, body: rest.subarray(0, length).toString('utf8') };
}

export interface OpenRequest {
  /** Resolves when the bytes are in the kernel: what is sent on another connection later arrives later. */
  write(bytes: Buffer | string): Promise<void>;
  end(bytes?: Buffer | string): void;
  /** Cuts the connection. */
  cut(): void;
  reply: Promise<HttpReply>;
}

/** A request whose body is sent bit by bit. Without a Content-Length it is chunked. */
export async function openRequest(
  method: string,
  url: string,
  headers: OutgoingHttpHeaders,
): Promise<OpenRequest> {
  const req = http.request(url, { method, headers, agent: false });
  const reply = new Promise<HttpReply>((resolve, reject) => {
    req.on('response', (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('end', () =>
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) }),
      );
      res.on('error', reject);
    });
    req.on('error', reject);
  });
  // Whoever does not look at the answer cut the connection on purpose.
  reply.catch(() => {});
  req.flushHeaders();
  await new Promise<void>((resolve, reject) => {
    req.once('error', reject);
    req.once('socket', (socket) => socket.once('connect', () => resolve()));
  });
  return {
    write: (bytes) => new Promise<void>((resolve) => void req.write(bytes, () => resolve())),
    end: (bytes) => void req.end(bytes),
    cut: () => void req.destroy(),
    reply,
  };
}
