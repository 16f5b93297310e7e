import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { abortedError, ClientError } from './errors.ts';
import { openSession, type Session, type UploadOptions, type UploadResult } from './options.ts';
import { MAX_STREAM_CHUNK_BYTES, MIN_CHUNK_BYTES, STREAM_CHUNK_BYTES } from './plan.ts';
import { createProgressMeter, type ProgressMeter } from './progress.ts';
import { createRetrier, withRetries } from './retry.ts';
import { uploadIdOf } from './server-address.ts';
import { createTusUpload, patchTusUpload, readTusOffset } from './tus-requests.ts';
import { awaitVerification } from './verification.ts';

const FIRST_CONTACT_MS = 10_000;

/**
 * Uploads a stream whose length nobody knows yet. It cannot be read twice, so a piece of it (`chunkSize`) stays in
 * memory until the server has it: broken connections and restarts of the server lose nothing, the end of this process
 * does.
 *
 * @throws ClientError; RangeError for a chunk size that is out of range
 */
export async function uploadStream(stream: Readable, options: UploadOptions): Promise<UploadResult> {
  const startedAtMs = performance.now();
  const { chunkSize = STREAM_CHUNK_BYTES } = options;
  if (!Number.isInteger(chunkSize) || chunkSize < MIN_CHUNK_BYTES || chunkSize > MAX_STREAM_CHUNK_BYTES) {
    throw new RangeError(
      `a chunk of a stream must have ${MIN_CHUNK_BYTES} to ${MAX_STREAM_CHUNK_BYTES} bytes`,
    );
  }
  const session = openSession(options);
  const { connection, retry, address } = session;
  const meter = createProgressMeter(undefined, options.onProgress);
  const hash = options.checksum === undefined ? undefined : createHash('sha256');
  const endOnAbort = () => void stream.destroy(abortedError(connection.signal));
  connection.signal.addEventListener('abort', endOnAbort, { once: true });
  try {
    if (connection.signal.aborted) throw abortedError(connection.signal);
    const { url } = await withRetries({ ...retry, unreachableForMs: FIRST_CONTACT_MS }, () =>
      createTusUpload(connection, {
        files: address.files,
        size: undefined,
        metadata: options.metadata ?? {},
      }),
    );
    let size = 0;
    let sha256: string | undefined;
    for await (const { bytes, isLast } of piecesOf(stream, chunkSize)) {
      hash?.update(bytes);
      const start = size;
      size += bytes.length;
      if (isLast) sha256 = hash?.digest('hex');
      await sendPiece(session, meter, { url, start, bytes, size: isLast ? size : undefined, sha256 });
    }
    if (sha256 !== undefined) {
      options.onPhase?.('verifying');
      await awaitVerification(session, uploadIdOf(url), sha256);
    }
    meter.setTotal(size);
    meter.finish();
    return {
      id: uploadIdOf(url),
      url,
      size,
      sha256,
      resumedBytes: 0,
      sentBytes: meter.sentBytes,
      durationMs: Math.round(performance.now() - startedAtMs),
      bytesPerSecond: meter.averageBytesPerSecond,
    };
  } finally {
    connection.signal.removeEventListener('abort', endOnAbort);
    stream.destroy();
    session.close();
  }
}

interface Piece {
  url: string;
  /** Where in the upload it starts. */
  start: number;
  bytes: Buffer;
  /** With the last piece: the length of all. */
  size: number | undefined;
  sha256: string | undefined;
}

async function sendPiece(session: Session, meter: ProgressMeter, piece: Piece): Promise<void> {
  const { url, start, bytes, size, sha256 } = piece;
  const retrier = createRetrier(session.retry);
  let sent: number | undefined = 0;
  let best = 0;
  let counted = 0;
  let isDeclared = size === undefined;
  const count = (more: number) => {
    meter.add(more);
    counted += more;
  };
  for (;;) {
    try {
      if (sent === undefined) {
        const known = await readTusOffset(session.connection, url);
        sent = known.offset - start;
        if (sent < 0 || sent > bytes.length) {
          throw new ClientError('protocol', `the server is at ${known.offset}, which was never its offset`);
        }
        isDeclared ||= known.size === size;
      }
      count(sent - counted);
      if (sent > best) {
        best = sent;
        retrier.progress();
      }
      if (sent === bytes.length && isDeclared) return;
      const rest = bytes.subarray(sent);
      const offset: number = await patchTusUpload(session.connection, {
        url,
        offset: start + sent,
        size,
        sha256,
        body: {
          length: rest.length,
          read: async (target, position) => rest.copy(target, 0, position),
          onBytes: count,
        },
      });
      sent = offset - start;
      isDeclared = true;
    } catch (error) {
      sent = undefined;
      await retrier.failed(error);
    }
  }
}

/** A stream in pieces of `length` bytes; the last one is shorter, and possibly empty. */
async function* piecesOf(
  stream: Readable,
  length: number,
): AsyncGenerator<{ bytes: Buffer; isLast: boolean }> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array | string>) {
      let rest = Buffer.from(chunk as Uint8Array);
      while (filled + rest.length > length) {
        const taken = rest.copy(buffer, filled, 0, length - filled);
        rest = rest.subarray(taken);
        filled = 0;
        yield { bytes: buffer, isLast: false };
      }
      filled += rest.copy(buffer, filled);
    }
  } catch (error) {
    if (error instanceof ClientError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ClientError('source_unreadable', `the stream failed: ${reason}`, { cause: error });
  }
  yield { bytes: buffer.subarray(0, filled), isLast: true };
}
