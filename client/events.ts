import type http from 'node:http';
import { ClientError } from './errors.ts';
import { openReply, readText } from './http.ts';
import type { Session } from './options.ts';
import { uploadIdOf } from './server-address.ts';
import { expectStatus } from './tus-requests.ts';

/** An event of an upload, as `GET /uploads/<id>/events` tells it. */
export interface ServerEvent {
  /** Where to go on after a broken connection. */
  id: string | undefined;
  type: string;
  /** JSON; undefined where it is none. */
  data: unknown;
}

/** Longer than the server's own comments, which keep a silent connection open. */
const IDLE_TIMEOUT_MS = 90_000;
const MAX_LINE = 1024 * 1024;

/**
 * The events of an upload as they happen, until the server ends the stream.
 *
 * @param lastId the id of the last one that was seen: those after it come first
 * @throws ClientError refused, upload_gone, network, …; the caller decides whether to ask again
 */
export async function* followEvents(
  session: Session,
  idOrUrl: string,
  lastId?: string,
): AsyncGenerator<ServerEvent> {
  const res = await openReply(session.connection, {
    method: 'GET',
    url: `${session.address.root}/uploads/${encodeURIComponent(uploadIdOf(idOrUrl))}/events`,
    headers: { Accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'Last-Event-ID': lastId }) },
    idleTimeoutMs: IDLE_TIMEOUT_MS,
  });
  try {
    // "a client can be told to stop reconnecting using the HTTP 204 No Content response code": there is nothing more.
    if (res.statusCode === 204) return;
    if (res.statusCode !== 200) {
      const body = await readText(res);
      expectStatus({ status: res.statusCode ?? 0, headers: res.headers, body }, 'follow it', 200);
    }
    if (res.headers['content-type']?.startsWith('text/event-stream') !== true) {
      throw new ClientError('protocol', 'the answer is no stream of events');
    }
    yield* parseEvents(res);
  } finally {
    res.destroy();
  }
}

/** The event stream format (WHATWG HTML, 9.2.6). An event whose end did not come is none. */
export async function* parseEvents(
  chunks: AsyncIterable<Buffer> | http.IncomingMessage,
): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let text = '';
  let id: string | undefined;
  let type = '';
  let data: string[] = [];
  for await (const chunk of chunks as AsyncIterable<Buffer>) {
    text += decoder.decode(chunk, { stream: true });
    // A CR at the end may be the first half of a CRLF.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    text = lines.pop() ?? '';
    if (text.length > MAX_LINE) throw new ClientError('protocol', 'an event is too long');
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { id, type: type || 'message', data: parseJson(data.join('\n')) };
        type = '';
        data = [];
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon === -1 ? line : line.slice(0, colon);
      const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'data') data.push(value);
      else if (field === 'event') type = value;
      else if (field === 'id' && !value.includes('\0')) id = value;
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
