import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

export interface LoopbackServer {
  port: number;
  close(): Promise<void>;
}

/** A plain HTTP server on a free port of the loopback. `close` also cuts what is still connected. */
export async function startLoopbackServer(
  handle: (req: IncomingMessage, res: ServerResponse) => void,
): Promise<LoopbackServer> {
  const server = createServer(handle);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

export interface RawAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** False when the connection ended before Content-Length was reached. */
  isComplete: boolean;
}

/** One request on its own connection; takes whatever comes. */
export async function fetchRaw(
  port: number,
  options: { method?: string; path?: string; headers?: Record<string, string> } = {},
): Promise<RawAnswer> {
  const req = request({ host: '127.0.0.1', port, agent: false, ...options });
  req.end();
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  res.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A cut body is an 'error' here, and what was received is what we want to see.
  res.on('error', () => {});
  await new Promise((resolve) => res.once('close', resolve));
  return {
    status: res.statusCode ?? 0,
    headers: res.headers,
    body: Buffer.concat(chunks),
    isComplete: res.complete,
  };
}

/** A connection for requests that are written by hand. */
export async function connectRaw(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}
