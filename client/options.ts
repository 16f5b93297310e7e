import { ClientError } from './errors.ts';
import { type ConnectionPool, createConnectionPool, type HttpConnection } from './http.ts';
import type { TransferProgress } from './progress.ts';
import { createRateLimiter, type RateLimiter } from './rate-limiter.ts';
import type { ResumeStore } from './resume-store.ts';
import type { RetryNotice, RetryOptions } from './retry.ts';
import { parseServer, type ServerAddress } from './server-address.ts';

/** Which server, and how to talk to it. */
export interface ConnectionOptions {
  /** The server's address, such as `https://upload.example`, or where it takes uploads, such as `…/files`. */
  server: string;
  /** Where the server takes uploads. Default: `/files`. */
  basePath?: string;
  /** Sent as a bearer token. */
  token?: string | undefined;
  /** Sent in every request. */
  headers?: Record<string, string>;
  /** Ends what is running. What arrived stays, and can be resumed. */
  signal?: AbortSignal | undefined;
  /** How long to go on trying without any progress, in milliseconds. Default: five minutes. */
  retryForMs?: number | undefined;
  /** Told before every wait for the next try. */
  onRetry?: (retry: RetryNotice) => void;
  /** Bytes per second; or a limiter that several transfers share (`createRateLimiter`). Default: no limit. */
  limitRate?: number | RateLimiter | undefined;
  /** Connections that several calls share (`createConnectionPool`). Default: each call has its own. */
  pool?: ConnectionPool | undefined;
}

export interface UploadOptions extends ConnectionOptions {
  /** Told ten times a second at most, and at the end. */
  onProgress?: (progress: TransferProgress) => void;
  /** Told once the bytes of an earlier run are known that need not be sent again. */
  onResumed?: (bytes: number) => void;
  /** Told when all bytes are sent and something is still to be waited for: the parts put together, a digest compared. */
  onPhase?: (phase: 'joining' | 'verifying') => void;
  /** Requests at the same time, 1 to 50. Default: by size (docs/cli.md). */
  parallel?: number | undefined;
  /** Most bytes of one request, 64 KiB or more; of a stream this is kept in memory, 64 MiB at most. Default: by size. */
  chunkSize?: number | undefined;
  /** Declares the SHA-256 of all of it, computed meanwhile, and waits until the server has compared it. */
  checksum?: 'sha256' | undefined;
  /** Sends the bytes straight to the server's bucket, where it lets clients do that; by tus where it does not work. */
  isDirect?: boolean | undefined;
  /** Told why the bytes go through the server after all. */
  onFallback?: (reason: ClientError) => void;
  /** Kept with the upload; `filename` is the file's own unless it is given. */
  metadata?: Record<string, string>;
  /** Remembers the upload while it is unfinished, so that another run can go on with it. Default: nothing does. */
  store?: ResumeStore;
}

export interface UploadResult {
  id: string;
  /** Where the upload is; GET gives its bytes back. */
  url: string;
  size: number;
  /** In hexadecimal; undefined without `checksum`. */
  sha256: string | undefined;
  /** Bytes that an earlier run had sent. */
  resumedBytes: number;
  /** Bytes that this run has sent, those that were lost on the way among them. */
  sentBytes: number;
  /** Until all was stored, and with `checksum` verified. */
  durationMs: number;
  /** Of this run, until its last byte was sent; 0: none had to be. */
  bytesPerSecond: number;
}

/** What every call needs while it runs. `close()` it. */
export interface Session {
  address: ServerAddress;
  connection: HttpConnection;
  retry: RetryOptions;
  /** The same with another signal. */
  withSignal(signal: AbortSignal): Session;
  close(): void;
}

const DEFAULT_RETRY_FOR_MS = 5 * 60_000;

/** @throws ClientError refused: the server's address is none, or a header is none */
export function openSession(options: ConnectionOptions): Session {
  const address = parseServer(options.server, options.basePath);
  const pool = options.pool ?? createConnectionPool();
  const { limitRate, retryForMs = DEFAULT_RETRY_FOR_MS, onRetry } = options;
  const headers = { ...options.headers, ...authorization(options) };
  if (/[^\x20-\x7e]/.test(Object.values(headers).join(''))) {
    throw new ClientError('refused', 'the token or a header has a character that no header may have');
  }
  const limiter = typeof limitRate === 'number' ? createRateLimiter(limitRate) : limitRate;
  const withSignal = (signal: AbortSignal): Session => ({
    address,
    connection: { pool, headers, signal, limiter },
    retry: { retryForMs, signal, onRetry },
    withSignal,
    close: () => {
      if (options.pool === undefined) pool.close();
    },
  });
  return withSignal(options.signal ?? new AbortController().signal);
}

/** A token, or what stands before the host in the server's address; that is never shown or remembered. */
function authorization({ token, server }: ConnectionOptions): Record<string, string> {
  if (token !== undefined) return { Authorization: `Bearer ${token}` };
  const { username, password } = new URL(server);
  if (username === '') return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { Authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
}
