import type { IncomingHttpHeaders } from 'node:http';
import { HttpError } from '../errors.ts';

export const TUS_VERSION = '1.0.0';
export const OFFSET_CONTENT_TYPE = 'application/offset+octet-stream';

/** Plain decimal digits: no sign, no fraction, no exponent, no second value after a comma. */
const NON_NEGATIVE_INTEGER = /^(?:0|[1-9][0-9]{0,15})$/;

/** A non-negative integer that a JavaScript number holds exactly; undefined for everything else. */
export function parseByteCount(value: string): number | undefined {
  if (!NON_NEGATIVE_INTEGER.test(value)) return undefined;
  const count = Number(value);
  return Number.isSafeInteger(count) ? count : undefined;
}

/** The value of a header that may occur once. Node joins repeated ones with a comma, which no parser below takes. */
export function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** How a creation says its length: exactly one of the two headers. `undefined` size: deferred. */
export function readUploadLength(headers: IncomingHttpHeaders): { size: number | undefined } {
  const length = headerText(headers, 'upload-length');
  const deferred = headerText(headers, 'upload-defer-length');
  if ((length === undefined) === (deferred === undefined)) throw new HttpError('invalid_length');
  if (deferred !== undefined) {
    // tus 1.0.0, creation-defer-length: "Its value MUST be 1."
    if (deferred !== '1') throw new HttpError('invalid_length');
    return { size: undefined };
  }
  const size = parseByteCount(length as string);
  if (size === undefined) throw new HttpError('invalid_length');
  return { size };
}

/** Upload-Length of a PATCH: declares a deferred length. */
export function readDeclaredLength(headers: IncomingHttpHeaders): number | undefined {
  const text = headerText(headers, 'upload-length');
  if (text === undefined) return undefined;
  const size = parseByteCount(text);
  if (size === undefined) throw new HttpError('invalid_length');
  return size;
}

export function readUploadOffset(headers: IncomingHttpHeaders): number {
  const text = headerText(headers, 'upload-offset');
  const offset = text === undefined ? undefined : parseByteCount(text);
  if (offset === undefined) throw new HttpError('invalid_offset_header');
  return offset;
}

/**
 * Bytes of body announced by Content-Length; undefined when the body is chunked (or there is none). Node has checked
 * that it is digits: unlike in tus' own headers, zeros in front are legal here (RFC 9110, 8.6).
 */
export function readContentLength(headers: IncomingHttpHeaders): number | undefined {
  const text = headers['content-length'];
  return text === undefined ? undefined : Number(text);
}

export function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] !== undefined || (readContentLength(headers) ?? 0) > 0;
}

/** The media type without its parameters, in lower case. */
export function mediaTypeOf(headers: IncomingHttpHeaders): string | undefined {
  return headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
}
