import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OriginalReader } from '../../stores/types.ts';
import type { DispositionType } from './disposition.ts';
import { type OriginalAnswer, planAnswer } from './original-answer.ts';
import { watchConnection } from './watch-connection.ts';

/** The part of a pino logger that is used here. */
export interface SendLog {
  warn(fields: Record<string, unknown>, event: string): void;
}

export interface SendOriginalOptions {
  /** As the client declared it; served only where it cannot be run by a browser. */
  contentType: string | null | undefined;
  /** As the client declared it: anything. */
  filename: string | null | undefined;
  disposition: DispositionType;
  /** Default: what the response already carries, else `private, no-cache` (stored by nobody else, revalidated). */
  cacheControl?: string;
  /** Milliseconds after which a client that takes no byte at all is cut off. Default 0: never. */
  stallTimeoutMs?: number;
  /** Cuts the transfer, for a shutdown whose grace is over. */
  signal?: AbortSignal;
  log?: SendLog;
}

export interface SentOriginal {
  status: number;
  /** Body bytes. Of an answer that was cut short: what the connection took, head included. */
  bytes: number;
  /** The whole answer was handed to the operating system. */
  isComplete: boolean;
}

/**
 * Answers a GET or HEAD for a finished original on a raw response, whose headers set before (CORS…) stay: 200,
 * 206 (one range, or multipart/byteranges), 304, 412 or 416, by RFC 9110. Waits until the answer is sent or the
 * client is gone. Closes the reader, exactly once, whatever happens.
 *
 * Rejects only while nothing was sent, with the response as it was: the caller can still answer with an error.
 * Later the connection is cut instead, short of the announced length, so that the client notices.
 */
export async function sendOriginal(
  req: IncomingMessage,
  res: ServerResponse,
  reader: OriginalReader,
  options: SendOriginalOptions,
): Promise<SentOriginal> {
  const connection = watchConnection(req, res, options);
  const writtenBefore = req.socket.bytesWritten;
  let answer: OriginalAnswer | undefined;
  let isComplete = false;
  try {
    answer = planAnswer(req, res, reader, options);
    isComplete = await send(res, reader, answer, connection.gone);
  } catch (error) {
    // A client that went away makes reads and writes fail; that is no failure of ours.
    if (!connection.gone.aborted) {
      if (!res.headersSent) {
        answer?.undo();
        throw error;
      }
      options.log?.warn({ err: error, status: answer?.status }, 'original.send_failed');
    }
  } finally {
    connection.unwatch();
    await reader.close().catch((error: unknown) => {
      options.log?.warn({ err: error }, 'original.close_failed');
    });
    // Also reached with headers sent and the rest missing: never leave such a response open.
    if (!isComplete && res.headersSent) res.destroy();
  }
  const taken = req.socket.bytesWritten - writtenBefore;
  return {
    status: answer?.status ?? res.statusCode,
    bytes: isComplete ? (answer?.bodyBytes ?? 0) : Math.max(0, Math.min(taken, answer?.bodyBytes ?? 0)),
    isComplete,
  };
}

/** True when the whole answer was sent, false when the client left before. */
async function send(
  res: ServerResponse,
  reader: OriginalReader,
  answer: OriginalAnswer,
  gone: AbortSignal,
): Promise<boolean> {
  for (const part of answer.parts) {
    if (res.destroyed || gone.aborted) return false;
    if (typeof part === 'string') res.write(part);
    // The head goes out with the first chunk: an original that cannot be read at all is still an error answer.
    else await reader.send(res, part.start, part.end, gone);
  }
  return endResponse(res, gone);
}

/** `writableFinished` would not tell: it is true, too, for a response whose socket died after `end()`. */
function endResponse(res: ServerResponse, gone: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (res.destroyed || gone.aborted) return resolve(false);
    res.once('finish', () => resolve(true));
    gone.addEventListener('abort', () => resolve(false), { once: true });
    res.end();
  });
}
