import { extname } from 'node:path';

/** Media types by extension: those that people upload most, and those that no one could tell from the bytes. */
const TYPES: Readonly<Record<string, string>> = {
  avi: 'video/x-msvideo',
  avif: 'image/avif',
  bmp: 'image/bmp',
  csv: 'text/csv',
  doc: 'application/msword',
  docx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  epub: 'application/epub+zip',
  flac: 'audio/flac',
  gif: 'image/gif',
  gz: 'application/gzip',
  heic: 'image/heic',
  heif: 'image/heif',
  html: 'text/html',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  json: 'application/json',
  m4a: 'audio/mp4',
  m4v: 'video/mp4',
  md: 'text/markdown',
  mkv: 'video/x-matroska',
  mov: 'video/quicktime',
  mp3: 'audio/mpeg',
  mp4: 'video/mp4',
  mxf: 'application/mxf',
  ogg: 'audio/ogg',
  pdf: 'application/pdf',
  png: 'image/png',
  pptx: 'application/vnd.openxmlformats-officedocument.presentationml.presentation',
  svg: 'image/svg+xml',
  tar: 'application/x-tar',
  tif: 'image/tiff',
  tiff: 'image/tiff',
  txt: 'text/plain',
  wav: 'audio/wav',
  webm: 'video/webm',
  webp: 'image/webp',
  xlsx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
  xml: 'application/xml',
  zip: 'application/zip',
};

/** The media type of a file's name, or undefined. */
export function mediaTypeOf(name: string): string | undefined {
  const extension = extname(name).slice(1).toLowerCase();
  return Object.hasOwn(TYPES, extension) ? TYPES[extension] : undefined;
}

/**
 * Adds `key=value` to what was given before; the value may have more `=` in it, or be empty.
 *
 * @throws RangeError
 */
export function addMetadata(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=');
  const key = at === -1 ? text : text.slice(0, at);
  // tus 1.0.0, Upload-Metadata: "The key MUST NOT contain spaces and commas and MUST NOT be empty. The key SHOULD be ASCII"
  if (at === -1 || !/^[\x21-\x2b\x2d-\x7e]+$/.test(key)) {
    throw new RangeError(
      `"${text}" is not key=value, with a key of ASCII characters without spaces and commas`,
    );
  }
  return { ...before, [key]: text.slice(at + 1) };
}
