import { create } from 'content-disposition';

export type DispositionType = 'attachment' | 'inline';

/** What file systems allow for one name. Percent-encoded this stays under 1 KiB of header. */
const MAX_NAME_BYTES = 255;
const MAX_EXTENSION_BYTES = 32;

/**
 * Control characters, line and paragraph separators, byte order marks, noncharacters; and the marks that change
 * the direction of text: with them `gpj.exe` is displayed as `exe.jpg`.
 */
const UNSAFE_CHARACTERS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/g;

/**
 * The value of a `Content-Disposition` header (RFC 6266) for a name that a client made up: `filename*` (RFC 8187)
 * whenever the plain `filename` cannot hold it. Takes any string, never throws; without a usable name only the
 * type is left.
 */
export function contentDisposition(filename: string | null | undefined, type: DispositionType): string {
  const name = safeFilename(filename ?? '');
  return name === '' ? type : create(name, { type, fallback: asciiFallback(name) });
}

/**
 * A name without anything that has an effect beyond being a name: the last part of a path, without control
 * characters and leading dots (hidden files), at most 255 bytes of UTF-8, the extension kept. Possibly empty.
 */
export function safeFilename(filename: string): string {
  // A lone surrogate cannot be percent-encoded.
  const cleaned = filename.toWellFormed().replace(UNSAFE_CHARACTERS, '');
  const lastPart = cleaned.split(/[/\\]/).findLast((part) => part !== '') ?? '';
  // Windows drops dots and blanks at the end, and then `setup.exe.` is a program.
  return shorten(trimEnd(lastPart.replace(/^[.\s]+/, '')));
}

function shorten(name: string): string {
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return name;
  const dot = name.lastIndexOf('.');
  const extension = dot === -1 ? '' : name.slice(dot);
  const kept = Buffer.byteLength(extension) <= MAX_EXTENSION_BYTES ? extension : '';
  const base = name.slice(0, name.length - kept.length);
  return trimEnd(cutToBytes(base, MAX_NAME_BYTES - Buffer.byteLength(kept)) + kept);
}

/** As many whole characters as fit. */
function cutToBytes(text: string, maxBytes: number): string {
  let bytes = 0;
  let length = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > maxBytes) break;
    length += character.length;
  }
  return text.slice(0, length);
}

/** A loop: `/[.\s]+$/` takes quadratic time on a long run of blanks in the middle. */
function trimEnd(name: string): string {
  let end = name.length;
  while (end > 0 && /[.\s]/.test(name[end - 1] ?? '')) end -= 1;
  return name.slice(0, end);
}

/**
 * For the few clients that do not know `filename*`: accents dropped, everything else outside ASCII replaced.
 * Also `%`, which some of them decode, and what their quoting gets wrong.
 */
function asciiFallback(name: string): string {
  return name
    .normalize('NFKD')
    .replace(/\p{Mark}/gu, '')
    .replace(/[^\x20-\x7e]|["%\\/]/gu, '_');
}
