import { HttpFailure, NetworkFailure } from './errors.ts';

/** Headers that every request to Landfall carries, asked for anew each time: a token may have been renewed. */
export type HeaderSource = () => Record<string, string> | Promise<Record<string, string>>;

export interface JsonRequest {
  method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Sent as JSON. */
  body?: unknown;
  signal?: AbortSignal | undefined;
  /** Goes on when the page is closed meanwhile. */
  keepalive?: boolean;
}

/** Asks Landfall. Undefined for an empty answer. */
export type AskJson = (url: string, request?: JsonRequest) => Promise<unknown>;

/** @throws HttpFailure, NetworkFailure; the signal's reason */
export function createAskJson(headers: HeaderSource): AskJson {
  return async (url, { method = 'GET', body, signal, keepalive = false } = {}) => {
    const init: RequestInit = { method, keepalive, headers: await headers(), cache: 'no-store' };
    if (signal !== undefined) init.signal = signal;
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { ...init.headers, 'content-type': 'application/json' };
    }
    let answer: Response;
    let text: string;
    try {
      answer = await fetch(url, init);
      text = await answer.text();
    } catch (error) {
      signal?.throwIfAborted();
      throw new NetworkFailure('The server cannot be reached.', { cause: error });
    }
    const json = parse(text);
    if (answer.ok) return json;
    const { code, message } = errorOf(json);
    throw new HttpFailure(answer.status, message ?? `The server answered with ${answer.status}.`, code);
  };
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `{error: {code, message}}`, as every error of Landfall's JSON API. */
function errorOf(json: unknown): { code?: string; message?: string } {
  const error = fieldsOf(fieldsOf(json).error);
  return {
    ...(typeof error.code === 'string' ? { code: error.code } : {}),
    ...(typeof error.message === 'string' ? { message: error.message } : {}),
  };
}

/** The fields of what should be an object; none, of anything else. */
export function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
