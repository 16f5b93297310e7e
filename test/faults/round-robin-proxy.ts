import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface RoundRobinProxy {
  port: number;
  close(): Promise<void>;
}

/**
 * A balancer without stickiness: every connection goes to the next process, or to the one after it when that one
 * takes no connections. When a process dies its clients see a broken connection, as behind any balancer.
 */
export async function startRoundRobinProxy(ports: readonly number[]): Promise<RoundRobinProxy> {
  const sockets = new Set<Socket>();
  let turn = 0;
  const proxy = createServer((client) => {
    keep(client);
    turn += 1;
    passOn(client, turn, ports.length);
  });

  function keep(socket: Socket): void {
    sockets.add(socket);
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => sockets.delete(socket));
  }

  function passOn(client: Socket, index: number, triesLeft: number): void {
    if (triesLeft === 0) {
      client.destroy();
      return;
    }
    const server = connect(ports[index % ports.length] as number, '127.0.0.1');
    let isConnected = false;
    keep(server);
    server.once('connect', () => {
      isConnected = true;
      client.pipe(server);
      server.pipe(client);
    });
    server.once('close', () => {
      if (isConnected || client.destroyed) client.destroy();
      else passOn(client, index + 1, triesLeft - 1);
    });
    client.once('close', () => server.destroy());
  }

  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return {
    port: (proxy.address() as AddressInfo).port,
    async close() {
      const closed = once(proxy, 'close');
      proxy.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
