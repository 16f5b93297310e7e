import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Relay {
  port: number;
  close(): Promise<void>;
}

/**
 * A TCP relay in front of a server that lets each client send only so many bytes per second: loopback is too fast to
 * interrupt anything. It passes on the end of either side's connection, and outlives restarts of the server.
 */
export async function startRelay(toPort: number, bytesPerSecond: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  const relay = createServer((client) => {
    const server = connect(toPort, '127.0.0.1');
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {}); // 'close' follows
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    server.pipe(client);
    passOnSlowly(client, server, bytesPerSecond).catch(() => {}); // cut off: 'close' has seen to it
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  return {
    port: (relay.address() as AddressInfo).port,
    async close() {
      const closed = once(relay, 'close');
      relay.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function passOnSlowly(from: Socket, to: Socket, bytesPerSecond: number): Promise<void> {
  let dueMs = performance.now();
  for await (const chunk of from) {
    dueMs = Math.max(dueMs, performance.now() - 5) + ((chunk as Buffer).length / bytesPerSecond) * 1000;
    if (!to.write(chunk)) await once(to, 'drain');
    const aheadMs = dueMs - performance.now();
    if (aheadMs > 1) await sleep(aheadMs);
  }
  to.end();
}
