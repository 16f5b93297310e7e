import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Delivery, Meters } from './meters.ts';

/**
 * Measures the time to the first byte of downloads. The head of an answer is written together with the first bytes
 * that there are to send, which is when `writeHead` runs.
 *
 * @param whatOf undefined: no download
 */
export function watchDeliveries(
  server: Server,
  meters: Pick<Meters, 'delivered'>,
  whatOf: (url: string) => Delivery | undefined,
): void {
  server.prependListener('request', (req: IncomingMessage, res: ServerResponse) => {
    if (req.method !== 'GET') return;
    const what = whatOf(req.url ?? '');
    if (what === undefined) return;
    const startedAtMs = performance.now();
    const { writeHead } = res;
    res.writeHead = function timed(this: ServerResponse, ...args: Parameters<typeof writeHead>) {
      res.writeHead = writeHead;
      const result = writeHead.apply(this, args);
      if (res.statusCode === 200 || res.statusCode === 206) {
        meters.delivered(what, (performance.now() - startedAtMs) / 1000);
      }
      return result;
    } as typeof writeHead;
  });
}
