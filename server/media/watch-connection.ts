import type { IncomingMessage, ServerResponse } from 'node:http';

export interface WatchedConnection {
  /** Aborted once nobody can receive the response any more. */
  gone: AbortSignal;
  unwatch(): void;
}

/**
 * Tells when the client of a response is gone: its connection closed, it took no byte for `stallTimeoutMs`, or
 * `signal` ended the transfer. While watched, errors of the response are nobody's crash.
 *
 * The socket is watched besides the response: one that waits behind another (pipelining) has no socket yet and
 * never hears of the end, nor do its writes call back.
 */
export function watchConnection(
  req: IncomingMessage,
  res: ServerResponse,
  options: { stallTimeoutMs?: number; signal?: AbortSignal },
): WatchedConnection {
  const { stallTimeoutMs = 0, signal } = options;
  const { socket } = req;
  const controller = new AbortController();

  function onGone(): void {
    controller.abort();
  }
  function onCut(): void {
    controller.abort();
    // Not the response: a waiting one would cut nothing, and its client would wait for ever.
    socket.destroy();
  }
  function onIdle(): void {
    // Idle with nothing to take is the store being slow, or another response's turn.
    if (socket.writableLength > 0) onCut();
    else socket.setTimeout(stallTimeoutMs);
  }
  function onError(): void {
    // Followed by 'close'. Without a listener it would end the process.
  }

  // Pipelined requests share the socket; Node would take more than ten of them for a leak.
  socket.setMaxListeners(socket.getMaxListeners() + 1);
  socket.once('close', onGone);
  res.once('close', onGone);
  res.on('error', onError);
  signal?.addEventListener('abort', onCut, { once: true });
  // Node counts progress of a write as activity, so this is about bytes, not about whole chunks.
  if (stallTimeoutMs > 0) res.setTimeout(stallTimeoutMs, onIdle);
  if (socket.destroyed || res.destroyed) onGone();
  else if (signal?.aborted) onCut();

  return {
    gone: controller.signal,
    unwatch() {
      socket.setMaxListeners(socket.getMaxListeners() - 1);
      socket.off('close', onGone);
      res.off('close', onGone);
      res.off('timeout', onIdle);
      signal?.removeEventListener('abort', onCut);
      // A late error of the response may still come: `onError` stays.
    },
  };
}
