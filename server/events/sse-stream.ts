import type { IncomingMessage, ServerResponse } from 'node:http';
import { watchConnection } from '../media/watch-connection.ts';

/** https://html.spec.whatwg.org/multipage/server-sent-events.html */
export interface SseMessage {
  /** What the client comes back with, in Last-Event-ID. */
  id?: string | undefined;
  event?: string;
  /** JSON. Without it the client keeps the id, and is told nothing. */
  data?: unknown;
}

export interface SseStream {
  send(message: SseMessage): void;
  /** Says nothing, and keeps proxies from taking the connection for a dead one. */
  beat(): void;
  /** Ends the response; an EventSource then connects again. */
  end(): void;
}

export interface SseOptions {
  /** A client that leaves so much untaken is cut off: it can come back, with the id that it knows. */
  maxBufferedBytes: number;
  /** Called once, whoever ended it. */
  onClose: () => void;
}

/** A client that takes nothing for so long, while there is something to take, is gone. */
const STALL_TIMEOUT_MS = 60_000;
/** When a client comes back: spread, so that those of a process that ended do not come all at once. */
const RECONNECT_MS = 1_000;
const RECONNECT_SPREAD_MS = 2_000;

export const SSE_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  // Neither kept nor compressed (which would hold events back) on its way; X-Accel-Buffering is nginx's word for it.
  'cache-control': 'no-store, no-transform',
  'x-accel-buffering': 'no',
};

/** Answers a request with a stream of events. Headers that were set on `res` go out with it. */
export function openSseStream(req: IncomingMessage, res: ServerResponse, options: SseOptions): SseStream {
  const connection = watchConnection(req, res, { stallTimeoutMs: STALL_TIMEOUT_MS });
  let isOpen = true;

  function close(): void {
    if (!isOpen) return;
    isOpen = false;
    connection.unwatch();
    options.onClose();
  }

  function write(text: string): void {
    if (!isOpen) return;
    res.write(text);
    if (res.writableLength <= options.maxBufferedBytes) return;
    res.destroy();
    close();
  }

  // Never before we have returned.
  if (connection.gone.aborted) setImmediate(close);
  else connection.gone.addEventListener('abort', close, { once: true });
  res.writeHead(200, SSE_HEADERS);
  write(`${retryLine()}\n`);

  return {
    send({ id, event, data }) {
      const lines = [
        ...(id === undefined ? [] : [`id: ${id}`]),
        ...(event === undefined ? [] : [`event: ${event}`]),
        ...(data === undefined ? [] : [`data: ${JSON.stringify(data)}`]),
      ];
      write(`${lines.join('\n')}\n\n`);
    },
    beat: () => write(':\n\n'),
    end() {
      if (!isOpen) return;
      res.end();
      close();
    },
  };
}

/** The field that tells an EventSource how long to wait before it connects again. */
export function retryLine(afterMs = RECONNECT_MS): string {
  return `retry: ${Math.round(afterMs + Math.random() * RECONNECT_SPREAD_MS)}\n`;
}
