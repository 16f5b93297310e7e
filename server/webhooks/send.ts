import http from 'node:http';
import https from 'node:https';
import { checkLiteralAddress, lookupPublic, type ResolveAddresses } from './public-address.ts';

export interface SendOptions {
  url: URL;
  /** Private, loopback and link-local addresses may be called. */
  allowPrivate: boolean;
  /** For the whole exchange. */
  timeoutMs: number;
  resolve?: ResolveAddresses | undefined;
}

export interface WebhookRequest {
  headers: Record<string, string>;
  body: string;
  signal: AbortSignal;
}

export interface WebhookAnswer {
  status: number;
  /** `Retry-After` in milliseconds. */
  retryAfterMs: number | undefined;
}

export interface Sender {
  /**
   * POSTs once and follows nothing.
   *
   * @throws Error where there is no answer: a refused address, a timeout, a reset; the signal's reason
   */
  send(request: WebhookRequest): Promise<WebhookAnswer>;
  close(): void;
}

const IDLE_CONNECTION_MS = 30_000;

export function createSender({ url, allowPrivate, timeoutMs, resolve }: SendOptions): Sender {
  const { Agent, request } = url.protocol === 'https:' ? https : http;
  const agent = new Agent({ keepAlive: true, timeout: IDLE_CONNECTION_MS });
  const lookup = allowPrivate ? undefined : lookupPublic(resolve);
  return {
    async send({ headers, body, signal }) {
      if (!allowPrivate) checkLiteralAddress(url);
      const timeout = AbortSignal.timeout(timeoutMs);
      const { promise, resolve: answer, reject } = Promise.withResolvers<WebhookAnswer>();
      const outgoing = request(
        url,
        {
          method: 'POST',
          agent,
          ...(lookup === undefined ? {} : { lookup }),
          headers: { ...headers, 'content-length': Buffer.byteLength(body) },
          signal: AbortSignal.any([signal, timeout]),
        },
        (incoming) => {
          const { statusCode = 0, headers: answered } = incoming;
          answer({ status: statusCode, retryAfterMs: parseRetryAfter(answered['retry-after']) });
          // Nobody reads what it says. One that never stops saying it is cut off by the timeout.
          incoming.on('error', () => {});
          incoming.resume();
        },
      );
      outgoing.on('error', (error) => {
        reject(timeout.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error);
      });
      outgoing.end(body);
      return promise;
    },
    close: () => agent.destroy(),
  };
}

/** RFC 9110, 10.2.3: seconds or a date. */
function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const atMs = Date.parse(value);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - Date.now());
}
