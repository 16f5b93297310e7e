import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DataStore } from '@tus/utils';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { newUploadId } from '../../stores/upload-id.ts';
import { ERRORS, HttpError } from '../errors.ts';
import { handlePlainUpload } from '../plain/handle-request.ts';
import { isPlainUpload } from '../plain/plain-request.ts';
import type { Cors } from '../plugins/cors.ts';
import { clientKey } from '../policy/client-key.ts';
import { detectRufh } from '../rufh/detect.ts';
import { handleRufhRequest } from '../rufh/handle-request.ts';
import { rufhCapabilities } from '../rufh/limits.ts';
import { sendUpload } from '../uploads/download.ts';
import { errorReply, handleTusRequest } from './handle-request.ts';
import { type Reply, sendReply } from './reply.ts';
import type { SessionRequest, SessionServices } from './session.ts';
import { createStockHandlers, type StockMethod } from './stock-handlers.ts';

export interface TusMountOptions {
  services: SessionServices;
  /** `/files`: without a trailing slash. */
  basePath: string;
  /** Origin (and prefix) for absolute Locations; undefined: relative ones, or what a trusted proxy says. */
  publicUrl: string | undefined;
  /** How long an upload lives without new bytes; undefined: for ever. */
  expirationMs: number | undefined;
  cors: Cors;
  /** Rejects with what a request is told that may not read this original. */
  assertReader(request: FastifyRequest, id: string): Promise<void>;
}

export interface TusMount {
  /** True for every address under the base path. */
  owns(url: string): boolean;
  /** Answers a request for such an address that no route took: an unknown method, a path that cannot be decoded. */
  takeOver(request: FastifyRequest, reply: FastifyReply): void;
}

const CREATION_METHODS: readonly string[] = ['POST', 'PUT', 'OPTIONS'];
const UPLOAD_METHODS: readonly string[] = ['HEAD', 'GET', 'PATCH', 'DELETE', 'OPTIONS'];

/**
 * Mounts tus under the base path. The reply is taken over in `onRequest`, before Fastify looks at the body: the
 * raw request goes to the store as it is.
 */
export function mountTus(app: FastifyInstance, options: TusMountOptions): TusMount {
  const { services, basePath, cors } = options;
  const stock = createStockHandlers(services.store as unknown as DataStore, basePath);

  const takeOver = (request: FastifyRequest, reply: FastifyReply) => {
    reply.hijack();
    const { raw: req } = request;
    const { raw: res } = reply;
    cors.apply(req, res);
    // A socket error after the answer must never become an uncaught exception.
    req.on('error', ignore);
    res.on('error', ignore);
    handle(request, req, res).catch((error: unknown) => {
      services.log.error({ error }, 'answering failed');
      res.destroy();
    });
  };

  async function handle(request: FastifyRequest, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const method = effectiveMethod(req);
    const id = idOf(req.url ?? '', basePath);
    const sessionRequest: SessionRequest = {
      method: method as StockMethod,
      id: id ?? '',
      // Nobody else asks whose request it is.
      client: services.policy.maxOpenUploads === undefined ? '' : clientKey(request),
      raw: req,
      location: (newId) => locationOf(newId, request, options),
      uploadId: (url) => uploadIdOf(url, options),
    };
    const send = (reply: Reply) => {
      services.hooks?.answer(req, reply);
      // A client that stayed connected would keep the process from ending.
      if (services.active.isDraining) reply.headers.connection = 'close';
      sendReply(req, res, reply);
    };
    const dialect = detectRufh(method, req.headers);
    if (dialect !== undefined) {
      send(await handleRufhRequest(services, { ...sessionRequest, ...dialect, method, id, res }));
      return;
    }
    const refusal = services.active.isDraining ? new HttpError('shutting_down') : refusalOf(method, id);
    if (refusal !== undefined) {
      const reply = errorReply(refusal, sessionRequest, services.log);
      // RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
      if (refusal.code === 'method_not_allowed') reply.headers.allow = methodsOf(id).join(', ');
      send(reply);
      return;
    }
    if (method === 'GET') {
      const { id: uploadId } = sessionRequest;
      await sendUpload(services, uploadId, req, res, () => options.assertReader(request, uploadId));
      return;
    }
    if (isPlainUpload(method, id, req)) {
      const { client, location } = sessionRequest;
      const plain = { method: method as 'PUT' | 'POST', client, raw: req, location, host: request.host };
      send(await handlePlainUpload(services, plain, cors));
      return;
    }
    if (method === 'POST') sessionRequest.id = newUploadId();
    const reply = await handleTusRequest(services, stock, sessionRequest);
    if (method === 'OPTIONS') {
      const { maxSizeBytes } = services.policy;
      const limits = { maxSizeBytes, remainingMs: options.expirationMs };
      Object.assign(reply.headers, rufhCapabilities(req.headers, limits));
    }
    send(reply);
  }

  const route = {
    method: ['POST', 'PUT', ...UPLOAD_METHODS],
    onRequest: (request: FastifyRequest, reply: FastifyReply, done: () => void) => {
      takeOver(request, reply);
      done();
    },
    handler: async () => {},
  };
  app.route({ ...route, url: basePath });
  app.route({ ...route, url: `${basePath}/*` });

  return {
    owns(url) {
      const path = pathOf(url);
      return path === basePath || path.startsWith(`${basePath}/`);
    },
    takeOver,
  };
}

function ignore(): void {}

/**
 * tus 1.0.0: "the Server MUST interpret the request as if it was made using the method in X-HTTP-Method-Override."
 */
function effectiveMethod(req: IncomingMessage): string {
  const override = req.headers['x-http-method-override'];
  const method = typeof override === 'string' && override !== '' ? override : (req.method ?? 'GET');
  return method.toUpperCase();
}

/** '' for the base path itself, undefined for what cannot be an upload's address. The query is not ours to read. */
export function idOf(url: string, basePath: string): string | undefined {
  const rest = pathOf(url).slice(basePath.length).replace(/^\//, '').replace(/\/$/, '');
  if (rest.includes('/')) return undefined;
  try {
    return decodeURIComponent(rest);
  } catch {
    return undefined;
  }
}

/** Without the query and, in the absolute form (RFC 9112, 3.2.2: "a server MUST accept" it), without the origin. */
function pathOf(url: string): string {
  const target = url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?]*/i, '');
  return target.split('?', 1)[0] as string;
}

function methodsOf(id: string | undefined): readonly string[] {
  return id === '' ? CREATION_METHODS : UPLOAD_METHODS;
}

function refusalOf(method: string, id: string | undefined): HttpError | undefined {
  if (id === undefined) return new HttpError('upload_not_found');
  return methodsOf(id).includes(method) ? undefined : new HttpError('method_not_allowed');
}

/**
 * A relative Location survives every proxy that does not rewrite paths, and clients resolve it against the address
 * they used. Forwarded headers count only when they come from a trusted proxy (Fastify has checked that for `host`
 * and `protocol`).
 */
function locationOf(id: string, request: FastifyRequest, { basePath, publicUrl }: TusMountOptions): string {
  if (publicUrl !== undefined) return `${publicUrl}${basePath}/${id}`;
  if (request.raw.headers['x-forwarded-host'] !== undefined && request.host !== request.raw.headers.host) {
    return `${request.protocol}://${request.host}${basePath}/${id}`;
  }
  return `${basePath}/${id}`;
}

/** As `locationOf` makes them, whatever the host is called; what its path begins with, LANDFALL_PUBLIC_URL may say. */
function uploadIdOf(url: string, { basePath, publicUrl }: TusMountOptions): string | undefined {
  const parsed = URL.parse(url, `http://localhost${basePath}`);
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return undefined;
  const publicPath = publicUrl === undefined ? '' : new URL(publicUrl).pathname.replace(/\/$/, '');
  const prefix = [basePath, publicPath + basePath].find((path) => parsed.pathname.startsWith(`${path}/`));
  return prefix === undefined ? undefined : idOf(parsed.pathname, prefix);
}

/** Answers what Node's HTTP parser refused: malformed or oversized headers, a request that took too long. */
export function answerClientError(
  error: NodeJS.ErrnoException,
  socket: { writable: boolean; end(data: string): void; destroy(): void },
  cors: Cors,
): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const code =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? 'headers_too_large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'request_timeout'
        : 'invalid_request';
  const body = `${ERRORS[code].message}\n`;
  socket.end(
    `HTTP/1.1 ${ERRORS[code].status} ${code}\r\nTus-Resumable: 1.0.0\r\nLandfall-Error: ${code}\r\n` +
      `${cors.linesForUnparsed()}Content-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
