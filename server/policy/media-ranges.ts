/**
 * Media types and ranges of them (`image/*`), compared without their parameters and without regard to case
 * (RFC 9110, 8.3.1).
 */

const TOKEN = "[a-z0-9!#$&^_.+'`|~%-]+";
const RANGE = new RegExp(`^(?:\\*/\\*|${TOKEN}/(?:\\*|${TOKEN}))$`);

/** Names that clients use for the same thing: browsers on Windows, older specifications, common mistakes. */
const ALIASES: Readonly<Record<string, string>> = {
  'application/gzip-compressed': 'application/gzip',
  'application/x-gzip': 'application/gzip',
  'application/x-bzip': 'application/x-bzip2',
  'application/x-pdf': 'application/pdf',
  'application/x-rar-compressed': 'application/vnd.rar',
  'application/x-rar': 'application/vnd.rar',
  'application/x-zip': 'application/zip',
  'application/x-zip-compressed': 'application/zip',
  'application/xml': 'text/xml',
  'audio/mp3': 'audio/mpeg',
  'audio/vnd.wave': 'audio/wav',
  'audio/wave': 'audio/wav',
  'audio/x-aiff': 'audio/aiff',
  'audio/x-flac': 'audio/flac',
  'audio/x-m4a': 'audio/mp4',
  'audio/m4a': 'audio/mp4',
  'audio/x-wav': 'audio/wav',
  'image/jpg': 'image/jpeg',
  'image/pjpeg': 'image/jpeg',
  'image/vnd.microsoft.icon': 'image/x-icon',
  'image/x-bmp': 'image/bmp',
  'image/x-ms-bmp': 'image/bmp',
  'image/x-png': 'image/png',
  'video/avi': 'video/x-msvideo',
  'video/msvideo': 'video/x-msvideo',
};

/** The type alone, in lower case, by its usual name. */
export function canonicalMediaType(type: string): string {
  const essence = (type.split(';', 1)[0] as string).trim().toLowerCase();
  return Object.hasOwn(ALIASES, essence) ? (ALIASES[essence] as string) : essence;
}

/** A range as it is compared. Throws a RangeError for what is none. */
export function parseMediaRange(text: string): string {
  const range = canonicalMediaType(text);
  if (text.includes(';') || !RANGE.test(range)) {
    throw new RangeError(`"${text.slice(0, 60)}" is neither a media type nor a range such as image/*`);
  }
  return range;
}

/** @param type canonical */
export function isInRanges(type: string, ranges: readonly string[]): boolean {
  return ranges.some(
    (range) =>
      range === '*/*' || range === type || (range.endsWith('/*') && type.startsWith(range.slice(0, -1))),
  );
}
