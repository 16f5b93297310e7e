import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type HookRequest, type HookResponse, parseHookResponse } from './protocol.ts';

export interface HookCallerOptions {
  url: string;
  /** For a hook with all of its attempts, as in tusd. */
  timeoutMs: number;
  /** Of the client's request, in lower case. */
  forwardHeaders: readonly string[];
  /** Before each further attempt. */
  retryDelayMs?: number;
}

/**
 * Asks the receiver. Answers of 5xx and failed connections are tried again, as tusd does.
 *
 * @throws Error no attempt worked, or the answer makes no sense
 */
export type CallHook = (
  request: HookRequest,
  headers: IncomingHttpHeaders,
  signal: AbortSignal,
) => Promise<HookResponse>;

/** tusd's defaults: -hooks-http-retry, -hooks-http-backoff, -hooks-http-size-limit. */
const ATTEMPTS = 3;
const RETRY_DELAY_MS = 1_000;
const MAX_RESPONSE_BYTES = 5 * 1024;

export function createHookCaller(options: HookCallerOptions): CallHook {
  const { url, timeoutMs, forwardHeaders, retryDelayMs = RETRY_DELAY_MS } = options;
  return async (request, clientHeaders, signal) => {
    const init: RequestInit = {
      method: 'POST',
      headers: { ...pick(clientHeaders, forwardHeaders), 'content-type': 'application/json' },
      body: JSON.stringify(request),
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    };
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await fetch(url, init);
        if (response.status < 500 || attempt === ATTEMPTS) return await read(response);
        await response.body?.cancel();
      } catch (error) {
        const isConnection = error instanceof TypeError;
        if (!isConnection || attempt === ATTEMPTS || init.signal?.aborted) throw error;
      }
      await sleep(retryDelayMs, undefined, { signal: init.signal ?? signal });
    }
  };
}

async function read(response: Response): Promise<HookResponse> {
  const text = await readText(response);
  if (!response.ok) throw new Error(`the hook answers ${response.status}: ${text.slice(0, 200)}`);
  const type = response.headers.get('content-type') ?? '';
  if (!/^application\/json(?:\s*;|$)/i.test(type))
    throw new Error(`the hook answers with the Content-Type "${type.slice(0, 100)}", not application/json`);
  return parseHookResponse(text);
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_RESPONSE_BYTES)
      throw new Error(`the hook answers with more than ${MAX_RESPONSE_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What belongs to the client's connection or body is not passed on. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
]);

function pick(headers: IncomingHttpHeaders, names: readonly string[]): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = headers[name];
    if (value !== undefined && !OWN_HEADERS.has(name)) picked[name] = [value].flat().join(', ');
  }
  return picked;
}
