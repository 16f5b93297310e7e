import { createHash } from 'node:crypto';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { abortedError, ClientError } from './errors.ts';
import type { UploadSource } from './source.ts';

/** Larger files are hashed in a thread of their own, so that the requests never wait for it. */
const WORKER_FROM_BYTES = 64 * 1000 ** 2;
const BUFFER_BYTES = 1024 * 1024;

/**
 * SHA-256 of all of a source in hexadecimal, by reading it once from its start, whatever is read of it meanwhile.
 *
 * @throws ClientError aborted, source_changed, source_unreadable
 */
export function sha256OfSource(source: UploadSource, signal: AbortSignal): Promise<string> {
  const { filePath, size } = source;
  return filePath !== undefined && size >= WORKER_FROM_BYTES
    ? sha256InWorker(filePath, size, signal)
    : sha256Here(source, signal);
}

async function sha256Here(source: UploadSource, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(Math.min(BUFFER_BYTES, Math.max(1, source.size)));
  for (let position = 0; position < source.size; ) {
    if (signal.aborted) throw abortedError(signal);
    const count = await source.read(buffer, position);
    if (count === 0) throw new ClientError('source_changed', 'there are fewer bytes than before');
    hash.update(buffer.subarray(0, count));
    position += count;
  }
  return hash.digest('hex');
}

function sha256InWorker(path: string, size: number, signal: AbortSignal): Promise<string> {
  // The built package has its worker beside it under the other name.
  const entry = new URL(`./sha256-worker${extname(import.meta.url)}`, import.meta.url);
  const worker = new Worker(entry, { workerData: { path, size } });
  const stop = () => void worker.terminate();
  signal.addEventListener('abort', stop, { once: true });
  return new Promise<string>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', (error) =>
      reject(new ClientError('source_unreadable', `${path}: ${String(error)}`, { cause: error })),
    );
    worker.once('exit', () => {
      reject(
        signal.aborted
          ? abortedError(signal)
          : new ClientError('source_changed', `${path} has become shorter`),
      );
    });
  }).finally(() => signal.removeEventListener('abort', stop));
}
