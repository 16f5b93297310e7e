/** The thread of sha256.ts: posts the digest of a file's first `size` bytes, or nothing when there are fewer. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

const { path, size } = workerData as { path: string; size: number };
const hash = createHash('sha256');
const buffer = Buffer.allocUnsafe(1024 * 1024);
const file = openSync(path, 'r');
let position = 0;
while (position < size) {
  const count = readSync(file, buffer, 0, Math.min(buffer.length, size - position), position);
  if (count === 0) break;
  hash.update(buffer.subarray(0, count));
  position += count;
}
closeSync(file);
if (position === size) parentPort?.postMessage(hash.digest('hex'));
