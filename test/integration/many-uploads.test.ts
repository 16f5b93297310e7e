import { afterAll, beforeAll, expect, test } from 'vitest';
import { runManyUploads } from '../support/many-uploads.ts';
import { type RunningServer, startServer } from '../support/server.ts';

/* `node bench/many-uploads.ts` is the same with 100 uploads of 100 MB. */

let server: RunningServer;

beforeAll(async () => {
  server = await startServer();
});

afterAll(() => server.stop());

test('30 uploads of 10 MB at once: all exact, at most 200 MB of memory over idle', async () => {
  const { idleBytes, peakBytes, wrong } = await runManyUploads(server, { count: 30, sizeBytes: 10_000_000 });
  expect(wrong).toEqual([]);
  expect(peakBytes - idleBytes).toBeLessThan(200_000_000);
}, 60_000);
