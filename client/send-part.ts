import { ClientError } from './errors.ts';
import type { Session } from './options.ts';
import type { ProgressMeter } from './progress.ts';
import { createRetrier } from './retry.ts';
import type { UploadSource } from './source.ts';
import { patchTusUpload, readTusOffset } from './tus-requests.ts';

export interface PartToSend {
  /** An upload of `end - start` bytes. */
  url: string;
  /** Bytes of the source. */
  start: number;
  end: number;
  /** What the server has of it. */
  offset: number;
}

export interface SendPartOptions {
  session: Session;
  source: UploadSource;
  /** Counts what is sent from `offset` on. */
  meter: ProgressMeter;
  chunkSizeBytes: number;
  /** Asked before the request that completes the upload: its SHA-256, where that is to be declared. */
  digest?: (() => Promise<string>) | undefined;
}

/**
 * Sends what is missing of one upload. After every failure the server is asked how far it came, and nothing else
 * decides where to go on: what it has is not sent again, and no failure to ask makes this start over.
 *
 * @throws ClientError upload_gone: somebody deleted it meanwhile; and others
 */
export async function sendPart(part: PartToSend, options: SendPartOptions): Promise<void> {
  const { session, source, meter } = options;
  const length = part.end - part.start;
  const retrier = createRetrier(session.retry);
  let offset: number | undefined = part.offset;
  let best = offset;
  /** What the meter has counted of this part. */
  let counted = offset;
  const count = (bytes: number) => {
    meter.add(bytes);
    counted += bytes;
  };
  for (;;) {
    try {
      offset ??= await readOffsetOf(session, part.url, length);
      count(offset - counted);
      if (offset > best) {
        best = offset;
        retrier.progress();
      }
      if (offset === length) return;
      const bodyLength = Math.min(options.chunkSizeBytes, length - offset);
      const isLast = offset + bodyLength === length;
      if (isLast) await source.checkUnchanged();
      const from = part.start + offset;
      offset = await patchTusUpload(session.connection, {
        url: part.url,
        offset,
        sha256: isLast ? await options.digest?.() : undefined,
        body: {
          length: bodyLength,
          read: (target, position) => source.read(target, from + position),
          onBytes: count,
        },
      });
    } catch (error) {
      offset = undefined;
      await retrier.failed(error);
    }
  }
}

/**
 * How far an upload of this length has come.
 *
 * @throws ClientError source_changed: the upload has another length; and others
 */
export async function readOffsetOf(session: Session, url: string, length: number): Promise<number> {
  const { offset, size } = await readTusOffset(session.connection, url);
  if (offset > length || (size !== undefined && size !== length)) {
    throw new ClientError('source_changed', `the upload has ${size} bytes, what is to be sent ${length}`);
  }
  return offset;
}
