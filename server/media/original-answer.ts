import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OriginalReader } from '../../stores/types.ts';
import { evaluatePreconditions, isRangeCurrent } from './conditional.ts';
import { OPAQUE_TYPE, servedContentType } from './content-type.ts';
import { contentDisposition, type DispositionType } from './disposition.ts';
import { type ByteRange, parseRange } from './range.ts';

/** A planned response: status and headers are set on it, nothing is sent. */
export interface OriginalAnswer {
  status: number;
  /** What to send, in order: text as it is, or a range of the original. Empty for HEAD. */
  parts: (string | ByteRange)[];
  /** Bytes of all parts together. */
  bodyBytes: number;
  /** Takes status and headers back, as long as nothing was sent. */
  undo(): void;
}

export interface AnswerOptions {
  contentType: string | null | undefined;
  filename: string | null | undefined;
  disposition: DispositionType;
  cacheControl?: string;
}

const STRICT_POLICY = "sandbox; default-src 'none'";
/** A video that is opened by itself loads itself once more, as its own origin. Scripts stay forbidden. */
const PLAYER_POLICY =
  "sandbox allow-same-origin; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'";

/** On every answer: nothing here is a page of ours, whatever a browser makes of the bytes. */
export function safetyHeaders(contentType: string, disposition: DispositionType): Record<string, string> {
  const isPlayed = disposition === 'inline' && /^(?:audio|video)\//i.test(contentType);
  return {
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': isPlayed ? PLAYER_POLICY : STRICT_POLICY,
  };
}

/** By what an answer is served that declares this. What may not be shown is saved, whatever was asked for. */
export function servedAs({
  contentType: declared,
  disposition,
}: Pick<AnswerOptions, 'contentType' | 'disposition'>): {
  contentType: string;
  disposition: DispositionType;
} {
  const contentType = servedContentType(declared);
  return { contentType, disposition: contentType === OPAQUE_TYPE ? 'attachment' : disposition };
}

/**
 * Decides by the request's preconditions and ranges (RFC 9110, 13.2.2 and 14.2) how an original is answered, and
 * puts status and headers on `res`.
 */
export function planAnswer(
  req: IncomingMessage,
  res: ServerResponse,
  reader: OriginalReader,
  options: AnswerOptions,
): OriginalAnswer {
  const nowMs = Date.now();
  // RFC 9110, 8.8.2.1: a modification date from a clock ahead of ours is replaced by the present.
  const current = { etag: reader.etag, modifiedAtMs: Math.min(reader.modifiedAtMs, nowMs) };
  const set = collectHeaders(res);
  const { size } = reader;
  const isHead = req.method === 'HEAD';

  function finish(status: number, bodyBytes: number, parts: OriginalAnswer['parts']): OriginalAnswer {
    res.statusCode = status;
    return { status, parts: isHead ? [] : parts, bodyBytes: isHead ? 0 : bodyBytes, undo: set.undo };
  }

  function finishWithText(status: number, text: string): OriginalAnswer {
    set.header('Cache-Control', 'no-store');
    set.header('Content-Type', 'text/plain; charset=utf-8');
    set.header('Content-Length', Buffer.byteLength(text));
    return finish(status, Buffer.byteLength(text), [text]);
  }

  try {
    const { contentType, disposition } = servedAs(options);
    for (const [name, value] of Object.entries(safetyHeaders(contentType, disposition))) {
      set.header(name, value);
    }
    set.header('Accept-Ranges', 'bytes');
    set.header('ETag', `"${current.etag}"`);
    set.header('Last-Modified', new Date(current.modifiedAtMs).toUTCString());
    if (options.cacheControl !== undefined) set.header('Cache-Control', options.cacheControl);
    else if (!res.hasHeader('Cache-Control')) set.header('Cache-Control', 'private, no-cache');

    const precondition = evaluatePreconditions(req.headers, current, nowMs);
    if (precondition === 'not_modified') return finish(304, 0, []);
    if (precondition === 'failed') {
      return finishWithText(412, 'The original is not in the state that the request asks for.\n');
    }

    // Only GET has ranges (14.2).
    const isRangeAllowed = req.method === 'GET' && isRangeCurrent(req.headers['if-range'], current, nowMs);
    const request = isRangeAllowed ? parseRange(req.headers.range, size) : { kind: 'none' as const };
    if (request.kind === 'unsatisfiable') {
      set.header('Content-Range', `bytes */${size}`);
      return finishWithText(416, `The original has ${size} bytes; no requested range is within them.\n`);
    }

    set.header('Content-Type', contentType);
    set.header('Content-Disposition', contentDisposition(options.filename, disposition));
    if (request.kind === 'none') {
      set.header('Content-Length', size);
      return finish(200, size, size === 0 ? [] : [{ start: 0, end: size - 1 }]);
    }

    const [first, ...others] = request.ranges;
    if (first !== undefined && others.length === 0) {
      const length = first.end - first.start + 1;
      set.header('Content-Range', `bytes ${first.start}-${first.end}/${size}`);
      set.header('Content-Length', length);
      return finish(206, length, [first]);
    }
    const boundary = `landfall-${randomBytes(16).toString('hex')}`;
    const parts = multipartParts(request.ranges, size, contentType, boundary);
    const bodyBytes = parts.reduce((sum, part) => sum + partBytes(part), 0);
    set.header('Content-Type', `multipart/byteranges; boundary=${boundary}`);
    set.header('Content-Length', bodyBytes);
    return finish(206, bodyBytes, parts);
  } catch (error) {
    // A header value that Node refuses, say in a configured Cache-Control.
    set.undo();
    throw error;
  }
}

/** multipart/byteranges (RFC 9110, 14.6): every part says its type and its place; 128 random bits part them. */
function multipartParts(
  ranges: ByteRange[],
  size: number,
  contentType: string,
  boundary: string,
): (string | ByteRange)[] {
  const parts = ranges.flatMap((range, index) => [
    `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${contentType}\r\n` +
      `Content-Range: bytes ${range.start}-${range.end}/${size}\r\n\r\n`,
    range,
  ]);
  return [...parts, `\r\n--${boundary}--\r\n`];
}

function partBytes(part: string | ByteRange): number {
  return typeof part === 'string' ? Buffer.byteLength(part) : part.end - part.start + 1;
}

/** Sets headers and remembers what was there, status included. */
function collectHeaders(res: ServerResponse) {
  const { statusCode } = res;
  const before = new Map<string, number | string | string[] | undefined>();
  return {
    header(name: string, value: string | number): void {
      if (!before.has(name)) before.set(name, res.getHeader(name));
      res.setHeader(name, value);
    },
    undo(): void {
      if (res.headersSent) return;
      res.statusCode = statusCode;
      for (const [name, value] of before) {
        if (value === undefined) res.removeHeader(name);
        else res.setHeader(name, value);
      }
    },
  };
}
