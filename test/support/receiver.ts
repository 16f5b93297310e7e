import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface ReceivedRequest {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface ReceiverAnswer {
  status?: number;
  headers?: Record<string, string>;
  body?: string;
  /** The connection is reset instead. */
  reset?: boolean;
  /** Nothing is said for so long. */
  delayMs?: number;
}

export interface Receiver {
  url: string;
  port: number;
  received: ReceivedRequest[];
  /** Resolves when there are so many of them. */
  whenReceived(count: number): Promise<void>;
  /** Requests find nobody from now on. */
  close(): void;
}

/** A server that is told things. `answer` says how the request of this index (from 0) is answered; 200 by default. */
export async function startReceiver(
  answer: (request: ReceivedRequest, index: number) => ReceiverAnswer | undefined = () => undefined,
): Promise<Receiver> {
  const received: ReceivedRequest[] = [];
  const waiting = new Set<() => void>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const got = { path: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks).toString() };
    const index = received.push(got) - 1;
    for (const look of waiting) look();
    const { status = 200, headers = {}, body = '', reset = false, delayMs = 0 } = answer(got, index) ?? {};
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (reset) request.socket.resetAndDestroy();
    else response.writeHead(status, headers).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  onTestFinished(close);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hooks`,
    port,
    received,
    async whenReceived(count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const look = () => {
        if (received.length >= count) resolve();
      };
      waiting.add(look);
      look();
      await promise.finally(() => waiting.delete(look));
    },
    close,
  };
}
