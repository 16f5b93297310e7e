import { createHash } from 'node:crypto';
import type http from 'node:http';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { openDownloadReply } from './download-request.ts';
import { findOriginal, findPreview } from './download-target.ts';
import { ClientError } from './errors.ts';
import { readText } from './http.ts';
import { type ConnectionOptions, openSession, type Session } from './options.ts';
import { openPartFile, type PartFile } from './part-file.ts';
import { createProgressMeter, type ProgressMeter, type TransferProgress } from './progress.ts';
import { createRetrier } from './retry.ts';

export interface DownloadOptions extends ConnectionOptions {
  /** Default: the original, as it was uploaded. */
  variant?: 'original' | 'preview';
  /** Told ten times a second at most, and at the end. */
  onProgress?: (progress: TransferProgress) => void;
  /** Told what an earlier run had got already. */
  onResumed?: (bytes: number) => void;
  /** Told when what was put together from several answers was found wrong, and all of it is fetched again. */
  onRestart?: () => void;
}

export interface DownloadResult {
  size: number;
  /** Of what was received, in hexadecimal. */
  sha256: string;
  /** The server knew the SHA-256, and it is this one. False: it did not know. */
  isVerified: boolean;
  resumedBytes: number;
  durationMs: number;
  /** Of this run, until its last byte had come; 0: none was missing. */
  bytesPerSecond: number;
}

/** Where the bytes go. */
interface Sink {
  /** Bytes that it has, from the first one on. */
  readonly size: number;
  /** The entity tag that those belong to. */
  readonly etag: string | undefined;
  /** Forgets all bytes; what follows belongs to this tag. */
  restart(etag: string | undefined): Promise<void>;
  write(bytes: Buffer): Promise<void>;
  sha256(): Promise<string>;
}

/**
 * Downloads an upload. To a path: beside it as `<path>.part` first, which another run goes on with if the server still
 * has the same bytes; it gets its name when all of it is there and verified. To a stream: verified at the end, when
 * the bytes have been passed on already.
 *
 * @throws ClientError digest_mismatch, upload_gone, refused, …
 */
export async function download(
  idOrUrl: string,
  target: string | Writable,
  options: DownloadOptions,
): Promise<DownloadResult> {
  const startedAtMs = performance.now();
  const session = openSession(options);
  let part: PartFile | undefined;
  try {
    const find = options.variant === 'preview' ? findPreview : findOriginal;
    const { url, sha256: expected } = await find(session, idOrUrl);
    // What a signed address has behind its "?" is another one every time.
    if (typeof target === 'string') part = await openPartFile(target, url.replace(/\?.*$/, ''));
    const sink = part ?? streamSink(target as Writable);
    let resumedBytes = sink.size;
    const meter = createProgressMeter(undefined, options.onProgress);
    meter.skip(resumedBytes);
    if (resumedBytes > 0) options.onResumed?.(resumedBytes);
    let fetched = await fetchAll(session, url, sink, meter);
    let sha256 = await sink.sha256();
    const rightSha256 = expected ?? fetched.sha256;
    if (rightSha256 !== undefined && sha256 !== rightSha256 && part !== undefined && !fetched.isInOnePiece) {
      options.onRestart?.();
      meter.skip(-sink.size);
      await sink.restart(undefined);
      resumedBytes = 0;
      fetched = await fetchAll(session, url, sink, meter);
      sha256 = await sink.sha256();
    }
    if (rightSha256 !== undefined && sha256 !== rightSha256) {
      await part?.discard();
      throw new ClientError(
        'digest_mismatch',
        `what arrived is not what the server has: SHA-256 ${sha256} instead of ${rightSha256}`,
      );
    }
    await part?.finish();
    meter.finish();
    return {
      size: sink.size,
      sha256,
      isVerified: rightSha256 !== undefined,
      resumedBytes,
      durationMs: Math.round(performance.now() - startedAtMs),
      bytesPerSecond: meter.averageBytesPerSecond,
    };
  } finally {
    await part?.close();
    session.close();
  }
}

interface Fetched {
  /** What the server told with it, if it did. */
  sha256: string | undefined;
  /** All of it came in one answer. */
  isInOnePiece: boolean;
}

/** Fetches what the sink does not have. */
async function fetchAll(session: Session, url: string, sink: Sink, meter: ProgressMeter): Promise<Fetched> {
  const retrier = createRetrier(session.retry);
  for (;;) {
    const before = sink.size;
    try {
      const res = await openDownloadReply(session, url, sink);
      const sha256 = sha256Of(res);
      const total = await receive(session, res, sink, meter);
      if (sink.size === total) return { sha256, isInOnePiece: res.statusCode === 200 };
      throw new ClientError('network', `the connection broke after ${sink.size} of ${total} bytes`, {
        isRetryable: true,
      });
    } catch (error) {
      if (sink.size > before) retrier.progress();
      await retrier.failed(error);
    }
  }
}

/** Takes an answer's bytes; resolves with the length of the whole. */
async function receive(
  session: Session,
  res: http.IncomingMessage,
  sink: Sink,
  meter: ProgressMeter,
): Promise<number> {
  const { limiter, signal } = session.connection;
  const range = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+)$/.exec(res.headers['content-range'] ?? '');
  let total: number;
  if (res.statusCode === 416) {
    await readText(res);
    total = Number(range?.[3]);
    // More than there is, or nobody says how much there is: what we have is of something else.
    if (total !== sink.size) {
      meter.skip(-sink.size);
      await sink.restart(undefined);
      throw new ClientError('network', 'the server has something else now', { isRetryable: true });
    }
    return total;
  }
  if (res.statusCode === 206) {
    if (range === null || Number(range[1]) !== sink.size) {
      res.destroy();
      throw new ClientError(
        'protocol',
        `asked for bytes from ${sink.size} on, got ${res.headers['content-range']}`,
      );
    }
    total = Number(range[3]);
  } else {
    meter.skip(-sink.size);
    await sink.restart(strongEtag(res));
    const length = res.headers['content-length'];
    total = length === undefined ? Number.NaN : Number(length);
  }
  meter.setTotal(Number.isNaN(total) ? undefined : total);
  try {
    for await (const chunk of res as AsyncIterable<Buffer>) {
      await limiter?.take(chunk.length, signal);
      await sink.write(chunk);
      meter.add(chunk.length);
    }
  } catch (error) {
    if (error instanceof ClientError || signal.aborted) throw error;
    throw new ClientError('network', `the connection broke after ${sink.size} bytes`, {
      isRetryable: true,
      cause: error,
    });
  }
  return Number.isNaN(total) ? sink.size : total;
}

/** Only a strong tag says that the bytes are the same (RFC 9110, 13.1.5). */
function strongEtag(res: http.IncomingMessage): string | undefined {
  const { etag } = res.headers;
  return etag?.startsWith('"') === true ? etag : undefined;
}

function sha256Of(res: http.IncomingMessage): string | undefined {
  const base64 = /(?:^|, *)sha-256=:([A-Za-z0-9+/]{43}=):/.exec(
    String(res.headers['repr-digest'] ?? ''),
  )?.[1];
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64').toString('hex');
}

/** A stream cannot be taken back: only a broken connection is made good. */
function streamSink(target: Writable): Sink {
  let hash = createHash('sha256');
  let size = 0;
  let etag: string | undefined;
  const failed = finished(target, { readable: false });
  failed.catch(() => {}); // told by write
  return {
    get size() {
      return size;
    },
    get etag() {
      return etag;
    },
    async restart(newEtag) {
      if (size > 0)
        throw new ClientError('network', `the server has something else now, after ${size} bytes`);
      etag = newEtag;
      hash = createHash('sha256');
    },
    async write(bytes) {
      hash.update(bytes);
      size += bytes.length;
      if (target.write(bytes)) return;
      await Promise.race([new Promise((resolve) => target.once('drain', resolve)), failed]);
    },
    sha256: async () => hash.copy().digest('hex'),
  };
}
