import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DataStore } from '@tus/utils';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { newUploadId } from '../../stores/upload-id.ts';
import { ERRORS, HttpError } from '../errors.ts';
import type { Cors } from '../plugins/cors.ts';
import { sendUpload } from '../uploads/download.ts';
import { errorReply, handleTusRequest } from './handle-request.ts';
import { sendReply } from './reply.ts';
import type { SessionRequest, SessionServices } from './session.ts';
import { createStockHandlers, type StockMethod } from './stock-handlers.ts';

export interface TusMountOptions {
  services: SessionServices;
  /** `/files`: without a trailing slash. */
  basePath: string;
  /** Origin (and prefix) for absolute Locations; undefined: relative ones, or what a trusted proxy says. */
  publicUrl: string | undefined;
  cors: Cors;
}

const TUS_METHODS: readonly string[] = ['POST', 'HEAD', 'PATCH', 'DELETE', 'OPTIONS'];

/**
 * Mounts tus under the base path. The reply is taken over in `onRequest`, before Fastify looks at the body: the
 * raw request goes to the store as it is.
 */
export async function mountTus(app: FastifyInstance, options: TusMountOptions): Promise<void> {
  const { services, basePath, cors } = options;
  const stock = createStockHandlers(services.store as unknown as DataStore, basePath);

  const takeOver = (request: FastifyRequest, reply: FastifyReply, done: () => void) => {
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
    done();
  };

  async function handle(request: FastifyRequest, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const method = effectiveMethod(req);
    const id = idOf(req.url ?? '', basePath);
    const sessionRequest: SessionRequest = {
      method: method as StockMethod,
      id: id ?? '',
      raw: req,
      location: (newId) => locationOf(newId, request, options),
    };
    if (method === 'GET' && id !== undefined && id !== '') {
      await sendUpload(services, id, req, res);
      return;
    }
    const refusal = refusalOf(method, id);
    if (refusal !== undefined) {
      sendReply(req, res, errorReply(refusal, sessionRequest, services.log));
      return;
    }
    if (method === 'POST') sessionRequest.id = newUploadId();
    sendReply(req, res, await handleTusRequest(services, stock, sessionRequest));
  }

  const route = {
    method: [...TUS_METHODS, 'GET'],
    onRequest: takeOver,
    handler: async () => {},
  };
  app.route({ ...route, url: basePath });
  app.route({ ...route, url: `${basePath}/*` });
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
  const path = url.split('?', 1)[0] as string;
  const rest = path.slice(basePath.length).replace(/^\//, '').replace(/\/$/, '');
  if (rest.includes('/')) return undefined;
  try {
    return decodeURIComponent(rest);
  } catch {
    return undefined;
  }
}

function refusalOf(method: string, id: string | undefined): HttpError | undefined {
  if (!TUS_METHODS.includes(method)) return new HttpError(id === '' ? 'method_not_allowed' : 'not_found');
  if (id === undefined) return new HttpError('upload_not_found');
  if (method === 'OPTIONS') return undefined;
  if ((id === '') !== (method === 'POST')) return new HttpError('method_not_allowed');
  return undefined;
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
