import { connect, type Socket } from 'node:net';

export interface HttpReply {
  status: number;
  /** The whole head as it came: ids in a Location are case-sensitive. */
  head: string;
}

/** Body of a request: one buffer, sent as often as it takes. */
export interface RepeatedBody {
  block: Buffer;
  totalBytes: number;
}

/** One keep-alive connection, one request at a time. */
export interface HttpConnection {
  /** `head` holds everything up to and including the empty line, and a small body if there is one. */
  request(head: string | Buffer, body?: RepeatedBody): Promise<HttpReply>;
  close(): void;
}

/**
 * HTTP over a raw socket, as cheap as it gets: the client shares the machine with the server that it measures. It
 * understands what tus servers answer (a head, and a body that it skips), and connects again after a server has
 * closed.
 */
export function openConnection(port: number): HttpConnection {
  let socket: Socket | undefined;
  let received = '';
  let pending: { resolve: (reply: HttpReply) => void; reject: (error: Error) => void } | undefined;

  function settle(reply: HttpReply): void {
    const { resolve } = pending ?? {};
    pending = undefined;
    received = '';
    if (/\nconnection: close/i.test(reply.head)) {
      socket?.destroy();
      socket = undefined;
    }
    resolve?.(reply);
  }

  function onData(chunk: Buffer): void {
    received += chunk.toString('latin1');
    const end = received.indexOf('\r\n\r\n');
    if (end === -1) return;
    const head = received.slice(0, end);
    const status = Number(head.slice(9, 12));
    if (status !== 204 && !isBodyComplete(head, received.slice(end + 4))) return;
    settle({ status, head });
  }

  function onGone(): void {
    socket = undefined;
    const { reject } = pending ?? {};
    pending = undefined;
    reject?.(new Error(`the server closed the connection without an answer: ${received.slice(0, 200)}`));
  }

  function opened(): Socket {
    if (socket === undefined) {
      const fresh = connect({ port, host: '127.0.0.1', noDelay: true });
      fresh.on('data', onData);
      fresh.on('error', () => {});
      fresh.on('close', () => {
        if (socket === fresh) onGone();
      });
      socket = fresh;
    }
    return socket;
  }

  return {
    request(head, body) {
      return new Promise((resolve, reject) => {
        pending = { resolve, reject };
        const target = opened();
        target.write(head);
        if (body !== undefined) sendBody(target, body);
      });
    },
    close() {
      socket?.destroy();
      socket = undefined;
    },
  };
}

function sendBody(socket: Socket, { block, totalBytes }: RepeatedBody): void {
  let left = totalBytes;
  const send = () => {
    while (left > 0 && !socket.destroyed) {
      const chunk = left >= block.length ? block : block.subarray(0, left);
      left -= chunk.length;
      if (!socket.write(chunk)) {
        socket.once('drain', send);
        return;
      }
    }
  };
  send();
}

function isBodyComplete(head: string, body: string): boolean {
  if (/\ntransfer-encoding: chunked/i.test(head)) return body.endsWith('0\r\n\r\n');
  const length = /\ncontent-length: (\d+)/i.exec(head)?.[1];
  return body.length >= Number(length ?? 0);
}

/**
 * Reads an answer of any size and throws it away, into one reused buffer. Resolves with the body's bytes once the
 * server has closed: the stock server does not survive a client that closes first.
 */
export function download(port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let bodyBytes = -1;
    const socket = connect({
      port,
      host: '127.0.0.1',
      onread: {
        buffer: Buffer.allocUnsafeSlow(1024 * 1024),
        callback(count, buffer) {
          if (bodyBytes === -1) {
            const text = Buffer.from(buffer.buffer, buffer.byteOffset, count).toString('latin1');
            const end = text.indexOf('\r\n\r\n');
            const head = text.slice(0, end);
            if (!head.startsWith('HTTP/1.1 200')) {
              socket.destroy(new Error(`GET ${path} was answered with ${head.slice(0, 200)}`));
              return false;
            }
            bodyBytes = count - end - 4;
          } else {
            bodyBytes += count;
          }
          return true;
        },
      },
    });
    socket.once('error', reject);
    socket.once('close', () => resolve(bodyBytes));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n`);
  });
}
