import type { IncomingMessage, ServerResponse } from 'node:http';

export interface CorsOptions {
  /** `*`, or exact origins. Empty: no other origin. */
  origins: '*' | readonly string[];
  credentials: boolean;
}

const ALLOWED_METHODS = 'POST, PUT, GET, HEAD, PATCH, DELETE, OPTIONS';
/**
 * What tus-js-client, Uppy and the other clients send, and those of the IETF's resumable uploads. X-Request-ID:
 * tus-js-client's `addRequestId`.
 */
const ALLOWED_HEADERS = [
  'Authorization',
  'Content-Digest',
  'Content-Disposition',
  'Content-Type',
  'Range',
  'If-Match',
  'If-None-Match',
  'If-Range',
  'Last-Event-ID',
  'Repr-Digest',
  'Tus-Resumable',
  'Upload-Checksum',
  'Upload-Complete',
  'Upload-Concat',
  'Upload-Defer-Length',
  'Upload-Draft-Interop-Version',
  'Upload-Incomplete',
  'Upload-Length',
  'Upload-Metadata',
  'Upload-Offset',
  'Uppy-Versions',
  'Want-Repr-Digest',
  'X-HTTP-Method-Override',
  'X-Request-ID',
  'X-Requested-With',
].join(', ');
const EXPOSED_HEADERS = [
  'Accept-Ranges',
  'Content-Disposition',
  'Content-Length',
  'Content-Range',
  'ETag',
  'Landfall-Error',
  'Last-Modified',
  'Location',
  'Repr-Digest',
  'Retry-After',
  'Tus-Checksum-Algorithm',
  'Tus-Extension',
  'Tus-Max-Size',
  'Tus-Resumable',
  'Tus-Version',
  'Upload-Complete',
  'Upload-Concat',
  'Upload-Defer-Length',
  'Upload-Expires',
  'Upload-Incomplete',
  'Upload-Length',
  'Upload-Limit',
  'Upload-Metadata',
  'Upload-Offset',
].join(', ');
const PREFLIGHT_MAX_AGE_SECONDS = '86400';

export interface Cors {
  /** Sets the headers of any answer, errors included, to a request that another origin may make. */
  apply(req: IncomingMessage, res: Pick<ServerResponse, 'setHeader'>): void;
  /** Origins whose pages may see how long an answer took (Resource Timing); undefined: none. */
  readonly timingOrigins: string | undefined;
  /** Whether a page of this origin may upload. Undefined: it is no page, or one that browsers do not tell of. */
  permits(origin: string | undefined): boolean;
  /** The same as lines of an HTTP/1 head, for a request that Node could not parse: its origin is unknown. */
  linesForUnparsed(): string;
}

/** The one owner of CORS (Fetch standard, "HTTP extensions"). */
export function createCors({ origins, credentials }: CorsOptions): Cors {
  const allowed = origins === '*' ? undefined : new Set(origins);

  return {
    apply(req, res) {
      // Even a refusal varies with the origin: a cache must not hand it to an allowed one.
      if (allowed !== undefined) res.setHeader('Vary', 'Origin');
      const { origin } = req.headers;
      if (origin === undefined) return;
      if (allowed !== undefined && !allowed.has(origin)) return;
      res.setHeader('Access-Control-Allow-Origin', allowed === undefined ? '*' : origin);
      if (credentials && allowed !== undefined) res.setHeader('Access-Control-Allow-Credentials', 'true');
      res.setHeader('Access-Control-Expose-Headers', EXPOSED_HEADERS);
      if (req.method === 'OPTIONS') {
        res.setHeader('Access-Control-Allow-Methods', ALLOWED_METHODS);
        res.setHeader('Access-Control-Allow-Headers', ALLOWED_HEADERS);
        res.setHeader('Access-Control-Max-Age', PREFLIGHT_MAX_AGE_SECONDS);
      }
    },
    timingOrigins: origins === '*' ? '*' : origins.length > 0 ? origins.join(', ') : undefined,
    permits: (origin) => origin === undefined || allowed === undefined || allowed.has(origin),
    linesForUnparsed() {
      return allowed === undefined ? 'Access-Control-Allow-Origin: *\r\n' : '';
    },
  };
}
