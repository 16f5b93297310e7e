import { expect, test } from 'vitest';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, patch } from '../support/tus.ts';

/* When the real program starts the process that makes previews: ahead of the last byte, and never in vain. */

const MIB = 1024 ** 2;
const STARTED = /started a process for previews/g;

const startedBy = (server: RunningServer) => server.output().match(STARTED)?.length ?? 0;

function announce(server: RunningServer, type: string | undefined, size: number | 'deferred') {
  const metadata = type === undefined ? {} : { 'Upload-Metadata': `filetype ${btoa(type)}` };
  return createUpload(server.filesUrl, size, metadata);
}

test('once, when a picture is announced; not for what gets no previews, or takes long to arrive', async () => {
  const server = await startServer({ env: { LANDFALL_LOG_LEVEL: 'info', LANDFALL_JOB_CONCURRENCY: '2' } });
  try {
    for (const type of ['text/plain', 'application/zip', 'nonsense', undefined]) {
      const url = await announce(server, type, 4);
      expect((await patch(url, 0, 'text')).status).toBe(204);
    }
    await announce(server, 'image/jpeg', 65 * MIB);
    await announce(server, 'image/jpeg', 'deferred');
    // What had been started would have said so before this one.
    expect(startedBy(server)).toBe(0);
    await Promise.all(
      ['image/jpeg', 'image/png', 'application/pdf'].map((type) => announce(server, type, 9)),
    );
    await until(() => startedBy(server) > 0);
    await announce(server, 'image/webp', 64 * MIB);
  } finally {
    // Closing it waits for what is being started.
    await server.stop();
  }
  expect(startedBy(server)).toBe(1);
});

test('never where previews are off', async () => {
  const server = await startServer({ env: { LANDFALL_LOG_LEVEL: 'info', LANDFALL_PREVIEWS: 'off' } });
  try {
    await announce(server, 'image/jpeg', 9);
  } finally {
    await server.stop();
  }
  expect(startedBy(server)).toBe(0);
});
