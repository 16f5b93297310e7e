import { Writable } from 'node:stream';
import type { OriginalReader, UploadStore } from '../../stores/types.ts';

/** The first bytes of a finished original: `maxBytes` of them, or all there are. */
export async function readHead(store: UploadStore, id: string, maxBytes: number): Promise<Buffer> {
  const reader = await store.openOriginal(id);
  try {
    return await readHeadOf(reader, maxBytes);
  } finally {
    await reader.close();
  }
}

/** The same of an original that is open. */
export async function readHeadOf(reader: OriginalReader, maxBytes: number): Promise<Buffer> {
  const length = Math.min(maxBytes, reader.size);
  const chunks: Buffer[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      // Readers use their buffers again.
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  if (length > 0) await reader.send(sink, 0, length - 1);
  return Buffer.concat(chunks);
}
