import { EVENTS, Server } from '@tus/server';
import type { DataStore, Lock, Upload } from '@tus/utils';

/**
 * The one seam into @tus/server. Everything that relies on how its handlers are built is in this file;
 * `test/unit/stock-handlers.test.ts` fails when an upgrade changes it, and the version is pinned exactly.
 *
 * The handlers' protocol logic runs as it is. What they reach for is ours, per request:
 * - `store`: an object of this request, so that the store learns the lock and the offset in question;
 * - `acquireLock`: so that the request keeps the lock, and hears when it is lost;
 * - `writeToStore`: gets the raw request instead of a web stream (a web stream copies every chunk and costs as
 *   much as all the rest); `req.body` is never read;
 * - `write`: gives back status and headers without the `Response` around them;
 * - `getFileIdFromRequest`, `generateUrl`: ids and Locations are decided by our routes.
 *
 * `Server.handler` itself is not used: it sets CORS headers, validates with looser rules than ours and closes the connection on
 * every error.
 */
export type StockMethod = 'POST' | 'HEAD' | 'PATCH' | 'DELETE' | 'OPTIONS';

export interface StockContext {
  signal: AbortSignal;
  abort: () => void;
  cancel: () => void;
}

/** What a stock handler may ask for while it handles one request. */
export interface StockRequestPort {
  method: StockMethod;
  /** Names in lower case. */
  header(name: string): string | undefined;
  /** The id that the route found; for POST the id of the new upload. */
  id: string;
  context: StockContext;
  store: StockStore;
  maxSize: number;
  location(id: string): string;
  acquireLock(): Promise<Lock>;
  writeBody(maxBodySize: number): Promise<number>;
}

export type StockStore = Pick<
  DataStore,
  'extensions' | 'hasExtension' | 'create' | 'remove' | 'getUpload' | 'declareUploadLength' | 'getExpiration'
>;

/** What a handler answers: a `Response`, or as much of one as anybody looks at. */
export interface StockReply {
  status: number;
  /** Names in lower case. */
  headers: Iterable<[string, string]> & { get(name: string): string | null | undefined };
}

interface HandlerOverrides {
  write(status: number, headers: Headers | Record<string, string>): StockReply;
  store: StockStore;
  options: Record<string, unknown>;
  getFileIdFromRequest(): string;
  generateUrl(req: unknown, id: string): string;
  acquireLock(): Promise<Lock>;
  writeToStore(body: unknown, upload: Upload, maxBodySize: number): Promise<number>;
}

interface StockHandler {
  send(request: StockRequest, context: StockContext, headers: Headers): Promise<StockReply>;
}

interface StockRequest {
  method: string;
  url: string;
  headers: { get(name: string): string | null };
  body: null;
}

export interface StockHandlers {
  /** Runs the stock handler of the port's method. Rejects with what the handler or our own code threw. */
  handle(port: StockRequestPort): Promise<StockReply>;
}

export function createStockHandlers(datastore: DataStore, path: string): StockHandlers {
  const server = new Server({ path, datastore, locker: { newLock: neverUsed } });
  const handlers = server.handlers as unknown as Record<StockMethod, StockHandler>;

  return {
    handle(port) {
      const overrides: HandlerOverrides = {
        store: port.store,
        options: {
          path,
          maxSize: port.maxSize,
          namingFunction: () => port.id,
        },
        getFileIdFromRequest: () => port.id,
        generateUrl: (_req, id) => port.location(id),
        acquireLock: () => port.acquireLock(),
        write: replyWith,
        writeToStore: (_body, _upload, maxBodySize) => port.writeBody(maxBodySize),
      };
      const handler: StockHandler = Object.assign(Object.create(handlers[port.method]), overrides);
      const request: StockRequest = {
        method: port.method,
        url: path,
        headers: { get: (name) => port.header(name.toLowerCase()) ?? null },
        body: null,
      };
      return handler.send(request, port.context, new Headers());
    },
  };
}

/** No body of ours passes here, and a `Response` costs as much as a row in the catalog. */
function replyWith(status: number, headers: Headers | Record<string, string>): StockReply {
  if (headers instanceof Headers) return { status, headers };
  return {
    status,
    headers: new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
  };
}

function neverUsed(): never {
  throw new Error('locks are acquired by the request, not by @tus/server');
}

/** Plain objects that stock handlers throw, by the sentence in them. */
export function isStockError(error: unknown): error is { status_code: number; body: string } {
  return (
    typeof error === 'object' &&
    error !== null &&
    'status_code' in error &&
    typeof error.status_code === 'number' &&
    'body' in error &&
    typeof error.body === 'string'
  );
}

export { EVENTS };
