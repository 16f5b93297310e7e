import { Readable, Writable } from 'node:stream';
import { StoredUpload, type StoredUploadFields } from '../../stores/stored-upload.ts';
import type { AppendOptions, AppendResult, OriginalReader, UploadStore } from '../../stores/types.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { freeLock } from './memory-lock.ts';

/* What a test of a store alone does with it: nobody else wants the lock, and no socket is slow. */

/** As network pieces are. */
const CHUNK_BYTES = 64 * 1024;

/** Of 5 bytes, none of which is there; not created yet. */
export function newUpload(fields: Partial<StoredUploadFields> = {}): StoredUpload {
  return new StoredUpload({
    id: newUploadId(),
    size: 5,
    offset: 0,
    rawMetadata: undefined,
    createdAtMs: Date.now(),
    isComplete: false,
    ...fields,
  });
}

export function appendOptions(options: Partial<AppendOptions> = {}): AppendOptions {
  return {
    limit: Number.MAX_SAFE_INTEGER,
    signal: new AbortController().signal,
    lock: freeLock(),
    idleTimeoutMs: 0,
    ...options,
  };
}

/** Appends bytes in many pieces. */
export function appendBytes(
  store: Pick<UploadStore, 'append'>,
  upload: StoredUpload,
  bytes: Buffer,
  options: Partial<AppendOptions> = {},
): Promise<AppendResult> {
  const chunks: Buffer[] = [];
  for (let start = 0; start < bytes.length; start += CHUNK_BYTES)
    chunks.push(bytes.subarray(start, start + CHUNK_BYTES));
  return store.append(upload, Readable.from(chunks), appendOptions(options));
}

/** Bytes `start` to `end` (inclusive). */
export async function readRange(
  reader: Pick<OriginalReader, 'send'>,
  start: number,
  end: number,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const target = new Writable({
    write(chunk: Buffer, _encoding, done) {
      // The store may reuse its buffers once the write is done.
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  await reader.send(target, start, end);
  return Buffer.concat(chunks);
}

/** All of a finished upload. */
export async function readOriginal(store: Pick<UploadStore, 'openOriginal'>, id: string): Promise<Buffer> {
  const reader = await store.openOriginal(id);
  try {
    return reader.size === 0 ? Buffer.alloc(0) : await readRange(reader, 0, reader.size - 1);
  } finally {
    await reader.close();
  }
}
