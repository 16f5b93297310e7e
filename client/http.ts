import http from 'node:http';
import https from 'node:https';
import { abortedError, ClientError } from './errors.ts';
import type { RateLimiter } from './rate-limiter.ts';

/** Where requests go, and with what in each of them. */
export interface HttpConnection {
  pool: ConnectionPool;
  /** In every request: authorization, for one. */
  headers: Readonly<Record<string, string>>;
  signal: AbortSignal;
  limiter?: RateLimiter | undefined;
}

/** Bytes `start` to `end` (exclusive) of what `read` gives. */
export interface RequestBody {
  length: number;
  /** Fills `target` from `position` of the body on; resolves with how much of it was filled, 0 only at the end. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Called when so many more bytes were handed to the connection. */
  onBytes?: (count: number) => void;
}

export interface HttpRequest {
  method: string;
  url: string;
  headers?: Record<string, string>;
  body?: RequestBody | undefined;
  /** How long neither side may say anything. Default: a minute. */
  idleTimeoutMs?: number;
}

export interface HttpReply {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

const IDLE_TIMEOUT_MS = 60_000;
const MAX_REPLY_BYTES = 16 * 1024 * 1024;
/** Two of these per running request is all the memory that a body takes, however long it is. */
const BUFFER_BYTES = 256 * 1024;

/** Connections that are kept: a client that sends many small files would otherwise run out of ports. `close()` it. */
export interface ConnectionPool {
  agentFor(url: URL): http.Agent;
  close(): void;
}

export function createConnectionPool(): ConnectionPool {
  const options = { keepAlive: true, maxFreeSockets: 64 };
  const plain = new http.Agent(options);
  const encrypted = new https.Agent(options);
  return {
    agentFor: ({ protocol }) => (protocol === 'https:' ? encrypted : plain),
    close() {
      plain.destroy();
      encrypted.destroy();
    },
  };
}

/**
 * One request and its whole answer, whatever its status.
 *
 * @throws ClientError network, aborted; and what the body's `read` throws
 */
export async function sendRequest(connection: HttpConnection, request: HttpRequest): Promise<HttpReply> {
  const { req, response } = openRequest(connection, request);
  // A connection that breaks while the body is sent is told by `response`, whose reason is the better one.
  response.catch(() => {});
  try {
    if (request.body === undefined) req.end();
    else await sendBody(connection, req, request.body);
    const res = await response;
    return { status: res.statusCode ?? 0, headers: res.headers, body: await readText(res) };
  } catch (error) {
    throw asClientError(error, connection.signal, request.url);
  } finally {
    // Also ends a body that the server answered before it had all of it.
    if (!req.writableFinished) req.destroy();
  }
}

/** Sends a request without a body, and resolves with the answer as soon as its headers are there. */
export async function openReply(
  connection: HttpConnection,
  request: Omit<HttpRequest, 'body'>,
): Promise<http.IncomingMessage> {
  const { req, response } = openRequest(connection, request);
  req.end();
  try {
    return await response;
  } catch (error) {
    throw asClientError(error, connection.signal, request.url);
  }
}

/** The text of an answer, the first 16 MiB of it. */
export async function readText(res: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of res as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_REPLY_BYTES) throw new Error('the answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function openRequest(connection: HttpConnection, request: HttpRequest) {
  const { body, idleTimeoutMs = IDLE_TIMEOUT_MS } = request;
  const url = new URL(request.url);
  const req = (url.protocol === 'https:' ? https : http).request(url, {
    method: request.method,
    agent: connection.pool.agentFor(url),
    signal: connection.signal,
    headers: {
      ...connection.headers,
      ...request.headers,
      ...(body === undefined ? {} : { 'Content-Length': String(body.length) }),
    },
  });
  req.setTimeout(idleTimeoutMs, () =>
    req.destroy(new Error(`no answer for ${idleTimeoutMs / 1000} seconds`)),
  );
  const { promise: response, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  req.once('response', resolve);
  req.on('error', reject);
  req.once('close', () => reject(new Error('the connection was closed')));
  return { req, response };
}

/**
 * Reads a piece while the one before it is sent. Ends early when the server answers early: it has all it wants, or
 * wants none of it.
 */
async function sendBody(
  connection: HttpConnection,
  req: http.ClientRequest,
  body: RequestBody,
): Promise<void> {
  let isAnswered = false;
  req.once('response', () => {
    isAnswered = true;
  });
  const buffers = [0, 1].map(() => Buffer.allocUnsafeSlow(Math.min(BUFFER_BYTES, Math.max(1, body.length))));
  const written: [Promise<void>, Promise<void>] = [Promise.resolve(), Promise.resolve()];
  let position = 0;
  for (let turn = 0; position < body.length; turn ^= 1) {
    await written[turn];
    if (isAnswered || req.destroyed) return;
    const buffer = buffers[turn] as Buffer;
    const wanted = Math.min(
      buffer.length,
      body.length - position,
      connection.limiter?.pieceBytes ?? Infinity,
    );
    const count = await body.read(buffer.subarray(0, wanted), position);
    if (count === 0) {
      const error = new ClientError(
        'source_changed',
        `there are ${body.length - position} bytes less than before`,
      );
      req.destroy(error);
      throw error;
    }
    await connection.limiter?.take(count, connection.signal);
    if (isAnswered || req.destroyed) return;
    written[turn as 0 | 1] = write(req, buffer.subarray(0, count));
    position += count;
    body.onBytes?.(count);
  }
  await Promise.all(written);
  if (!req.destroyed) req.end();
}

/** Resolves when the connection has taken the bytes, so that their memory can be used again; or when it is closed. */
function write(req: http.ClientRequest, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      req.off('close', done);
      resolve();
    };
    req.once('close', done);
    req.write(bytes, done);
  });
}

function asClientError(error: unknown, signal: AbortSignal, url: string): ClientError {
  if (error instanceof ClientError) return error;
  if (signal.aborted) return abortedError(signal);
  const { host } = new URL(url);
  return new ClientError('network', `${host}: ${describeFailure(error)}`, {
    isRetryable: true,
    cause: error,
  });
}

const FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there (connection refused)',
  ECONNRESET: 'the connection broke (reset)',
  EPIPE: 'the connection broke (closed)',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name cannot be looked up now',
  ETIMEDOUT: 'no answer (timed out)',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
};

function describeFailure(error: unknown): string {
  // Of several addresses of one host Node tells each failure in `errors`.
  const first = error instanceof AggregateError ? error.errors[0] : error;
  if (!(first instanceof Error)) return String(first);
  const code = 'code' in first && typeof first.code === 'string' ? first.code : '';
  return FAILURES[code] ?? (first.message || code);
}
