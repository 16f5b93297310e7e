import http from 'node:http';

/** What a client does to its own connection at some byte of the body. */
export type ConnectionFault = 'go on' | 'close' | 'reset' | 'stall';

export interface FaultyRequest {
  method: 'POST' | 'HEAD' | 'PATCH' | 'DELETE' | 'GET';
  url: string;
  headers?: Record<string, string>;
  body?: Buffer;
  /** Sends the body without Content-Length. */
  isChunked?: boolean;
  /** Bytes of the next write. Default: everything at once. */
  nextWriteBytes?: () => number;
  /** Called once, when this many body bytes were handed to the socket. */
  at?: { byte: number; act: () => ConnectionFault };
  /** Called when the request was sent completely. */
  onSent?: () => void;
  timeoutMs?: number;
}

export interface Outcome {
  /** Undefined: the connection ended without an answer. */
  status: number | undefined;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
  /** The answer's body arrived completely. */
  isComplete: boolean;
  /** Body bytes handed to the socket. */
  sentBytes: number;
  hasSentAll: boolean;
}

/** A request under way. */
export interface Exchange {
  outcome: Promise<Outcome>;
  /** Ends a stalled connection (does nothing to one that has ended). */
  destroy(): void;
}

/** The server gave no sign of life: neither an answer nor an end of the connection. */
export class NoAnswerError extends Error {}

const DEFAULT_TIMEOUT_MS = 20_000;

/**
 * Sends one request on a connection of its own, in writes of any size, and does to the connection what it is told
 * to. Whatever becomes of it is an outcome; only silence is an error.
 */
export function exchange(request: FaultyRequest): Exchange {
  const { method, url, headers = {}, body, isChunked = false, timeoutMs = DEFAULT_TIMEOUT_MS } = request;
  const hasBody = body !== undefined;
  const req = http.request(url, {
    method,
    agent: false,
    headers: {
      ...headers,
      ...(hasBody && !isChunked ? { 'Content-Length': String(body.length) } : {}),
      ...(hasBody && isChunked ? { 'Transfer-Encoding': 'chunked' } : {}),
    },
  });
  const progress = { sentBytes: 0, hasEnded: false };

  const outcome = new Promise<Outcome>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new NoAnswerError(`${method} ${url}: no answer in ${timeoutMs} ms`));
      req.destroy();
    }, timeoutMs);
    const settle = (res?: http.IncomingMessage, chunks: Buffer[] = []) => {
      clearTimeout(timer);
      resolve({
        status: res?.statusCode,
        headers: res?.headers ?? {},
        body: Buffer.concat(chunks),
        isComplete: res?.complete ?? false,
        sentBytes: progress.sentBytes,
        // With Content-Length the last byte is the end: the answer may come before we say so ourselves.
        hasSentAll: progress.hasEnded || (hasBody && !isChunked && progress.sentBytes === body.length),
      });
    };
    let hasAnswer = false;
    req.on('response', (res) => {
      hasAnswer = true;
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', () => {}); // an answer that was cut off: 'close' follows
      res.on('close', () => settle(res, chunks));
    });
    req.on('error', () => {}); // 'close' follows
    req.on('close', () => {
      if (!hasAnswer) settle();
    });
  });

  void sendBody(req, request, progress);
  return { outcome, destroy: () => req.destroy() };
}

async function sendBody(
  req: http.ClientRequest,
  { body, nextWriteBytes, at, onSent }: FaultyRequest,
  progress: { sentBytes: number; hasEnded: boolean },
): Promise<void> {
  let hasEnded = false;
  let wake = () => {};
  const end = () => {
    hasEnded = true;
    wake();
  };
  req.on('close', end);
  req.on('response', end);
  req.on('drain', () => wake());
  req.flushHeaders();

  if (body !== undefined) {
    let pendingAt = at;
    while (!hasEnded && (progress.sentBytes < body.length || pendingAt !== undefined)) {
      if (pendingAt !== undefined && progress.sentBytes >= pendingAt.byte) {
        const fault = pendingAt.act();
        pendingAt = undefined;
        if (fault === 'stall') return;
        if (fault !== 'go on') return cut(req, fault);
        continue;
      }
      const stopAt = Math.min(pendingAt?.byte ?? body.length, body.length);
      const count = Math.min(nextWriteBytes?.() ?? body.length, stopAt - progress.sentBytes);
      const isTaken = req.write(body.subarray(progress.sentBytes, progress.sentBytes + count));
      progress.sentBytes += count;
      if (isTaken) {
        await new Promise((resolve) => setImmediate(resolve));
      } else if (!hasEnded) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    if (hasEnded) return;
  }
  progress.hasEnded = true;
  req.end(() => onSent?.());
}

function cut(req: http.ClientRequest, how: 'close' | 'reset'): void {
  // A connection that is still being made cannot be reset.
  if (how === 'reset' && req.socket !== null && !req.socket.connecting) req.socket.resetAndDestroy();
  else req.destroy();
}
