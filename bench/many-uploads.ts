/*
 * node bench/many-uploads.ts [--uploads 100] [--megabytes 100] [--sha256]
 *
 * Many uploads at once: is every byte right, and how much memory does it take? Writes them below the system's
 * directory for temporary files (TMPDIR). --sha256: the server hashes them as they come in (LANDFALL_VERIFY=always).
 */
import { parseArgs } from 'node:util';
import { runManyUploads } from '../test/support/many-uploads.ts';
import { startServer } from '../test/support/server.ts';

const MB = 1_000_000;
const LIMIT_BYTES = 200 * MB;

const { values } = parseArgs({
  options: {
    uploads: { type: 'string', default: '100' },
    megabytes: { type: 'string', default: '100' },
    sha256: { type: 'boolean', default: false },
  },
});
const count = Number(values.uploads);
const sizeBytes = Number(values.megabytes) * MB;

const server = await startServer({ env: values.sha256 ? { LANDFALL_VERIFY: 'always' } : {} });
try {
  const { idleBytes, peakBytes, seconds, wrong } = await runManyUploads(server, { count, sizeBytes });
  const overIdle = peakBytes - idleBytes;
  console.log(`${count} uploads of ${sizeBytes / MB} MB at once: ${count - wrong.length} exact`);
  console.log(`${seconds.toFixed(1)} s, ${Math.round((count * sizeBytes) / MB / seconds)} MB/s`);
  console.log(
    `resident memory: idle ${megabytes(idleBytes)}, peak ${megabytes(peakBytes)}, ${megabytes(overIdle)} over idle (limit ${megabytes(LIMIT_BYTES)})`,
  );
  if (wrong.length > 0 || overIdle > LIMIT_BYTES) process.exitCode = 1;
} finally {
  await server.stop();
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / MB)} MB`;
}
