import { createHash } from 'node:crypto';
import { Writable } from 'node:stream';
import type { ProcessorHost } from '../../processors/host.ts';
import type { OriginalReader } from '../../stores/types.ts';

/** Hashes files in processes of their own. */
export type FileHasher = Pick<ProcessorHost, 'sha256'>;

/** Milliseconds of work, in many pieces: less than another process needs to begin. */
const SMALL_BYTES = 16 * 1024 * 1024;

/**
 * SHA-256 of a finished original, lower-case hex. Large files are read by another process of low priority; what comes
 * from S3 has to pass through this one anyway.
 */
export async function sha256Of(
  reader: OriginalReader,
  hasher: FileHasher,
  signal?: AbortSignal,
): Promise<string> {
  if (reader.path !== undefined && reader.size > SMALL_BYTES) return hasher.sha256(reader.path, signal);
  const hash = createHash('sha256');
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done();
    },
  });
  if (reader.size > 0) await reader.send(sink, 0, reader.size - 1, signal);
  return hash.digest('hex');
}
