import { validateHeaderName, validateHeaderValue } from 'node:http';
import type { Reply } from '../tus/reply.ts';
import type { HookHttpResponse } from './protocol.ts';

/** What the protocol says, a hook does not change: a client would lose bytes, or its upload. */
const OURS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'date',
  'landfall-error',
  'location',
  'transfer-encoding',
  'tus-resumable',
  'upload-complete',
  'upload-offset',
]);

/** tusd's HTTPResponse.MergeWith: what the later one sets, counts. */
export function joinAnswers(
  earlier: HookHttpResponse | undefined,
  later: HookHttpResponse | undefined,
): HookHttpResponse | undefined {
  if (earlier === undefined || later === undefined) return later ?? earlier;
  return { ...earlier, ...later, Header: { ...earlier.Header, ...later.Header } };
}

/** Status, body and headers as a hook has set them; the rest as it was. */
export function changeReply(reply: Reply, answer: HookHttpResponse | undefined): void {
  if (answer === undefined) return;
  const { StatusCode, Body, Header } = answer;
  if (StatusCode !== undefined) reply.status = StatusCode;
  if (Body !== undefined && reply.status !== 204 && reply.status !== 304) {
    reply.body = Body;
    reply.headers['content-type'] = 'text/plain; charset=utf-8';
  }
  for (const [given, value] of Object.entries(Header)) {
    const name = given.toLowerCase();
    if (!OURS.has(name) && isSendable(name, value)) reply.headers[name] = value;
  }
}

function isSendable(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}
