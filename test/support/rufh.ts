import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** Everything that came on the wire for one request: the interim answers, and the final one. */
export interface WireReply {
  status: number;
  /** Names in lower case. */
  headers: Record<string, string>;
  body: string;
  interims: WireInterim[];
}

export interface WireInterim {
  statusLine: string;
  headers: Record<string, string>;
}

export interface WireRequest {
  /** Resolves when the bytes are in the kernel. */
  write(bytes: Buffer | string): Promise<void>;
  /** The next interim answer with this status. */
  interim(status: number): Promise<WireInterim>;
  reply: Promise<WireReply>;
  /** Ends the connection, and resolves when the server has ended its side too: it has seen the cut. */
  cut(): Promise<void>;
}

/** One request on its own connection, written by hand; nothing is added to it but Host. */
export async function openWire(
  url: string,
  method: string,
  headers: Record<string, string>,
  { httpVersion = '1.1' }: { httpVersion?: string } = {},
): Promise<WireRequest> {
  const { hostname, port, pathname, search } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  await once(socket, 'connect');
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const reader = readWire(socket, method === 'HEAD');
  const write = (bytes: Buffer | string) =>
    new Promise<void>((resolve) => void socket.write(bytes, () => resolve()));
  await write(
    `${method} ${pathname}${search} HTTP/${httpVersion}\r\nHost: ${hostname}:${port}\r\n${lines.join('')}\r\n`,
  );
  return {
    write,
    interim: reader.interim,
    reply: reader.reply,
    async cut() {
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.end();
      await closed;
    },
  };
}

/** A whole request: headers, and a body with its Content-Length. */
export async function sendWire(
  url: string,
  method: string,
  headers: Record<string, string>,
  body?: Buffer | string,
): Promise<WireReply> {
  const length =
    body === undefined ? (method === 'PATCH' || method === 'POST' ? 0 : undefined) : Buffer.byteLength(body);
  const request = await openWire(url, method, {
    ...headers,
    ...(length === undefined ? {} : { 'Content-Length': String(length) }),
  });
  if (body !== undefined) await request.write(body);
  const reply = await request.reply;
  await request.cut();
  return reply;
}

export function chunked(bytes: Buffer | string): Buffer {
  const data = Buffer.from(bytes);
  return Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')]);
}

export const LAST_CHUNK = '0\r\n\r\n';

function readWire(socket: Socket, isHead: boolean) {
  let received = Buffer.alloc(0);
  const interims: WireInterim[] = [];
  const listeners = new Set<() => void>();
  let settle: { resolve: (reply: WireReply) => void; reject: (error: Error) => void };
  const reply = new Promise<WireReply>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // Whoever cuts the connection does not wait for the answer.
  reply.catch(() => {});

  const parse = () => {
    for (;;) {
      const end = received.indexOf('\r\n\r\n');
      if (end === -1) return;
      const [statusLine = '', ...lines] = received.subarray(0, end).toString('latin1').split('\r\n');
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1]);
      const headers = Object.fromEntries(
        lines.map((line) => {
          const colon = line.indexOf(':');
          return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
        }),
      );
      if (status < 200) {
        received = received.subarray(end + 4);
        interims.push({ statusLine, headers });
        for (const listener of listeners) listener();
        continue;
      }
      const length = isHead || status === 204 ? 0 : Number(headers['content-length'] ?? 0);
      if (received.length < end + 4 + length) return;
      const body = received.subarray(end + 4, end + 4 + length).toString('utf8');
      settle.resolve({ status, headers, body, interims });
      return;
    }
  };
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk]);
    parse();
  });
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('close', () =>
    settle.reject(new Error(`the connection ended after ${JSON.stringify(received.toString())}`)),
  );

  return {
    reply,
    interim: (status: number) =>
      new Promise<WireInterim>((resolve, reject) => {
        const look = () => {
          const found = interims.find(({ statusLine }) => statusLine.startsWith(`HTTP/1.1 ${status} `));
          if (found === undefined) return;
          listeners.delete(look);
          resolve(found);
        };
        listeners.add(look);
        socket.once('close', () => reject(new Error(`the connection ended without a ${status}`)));
        look();
      }),
  };
}
