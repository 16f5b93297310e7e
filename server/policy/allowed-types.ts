import { isAlwaysRecognized, looksLikeText, sniffMediaType } from '../../processors/sniff.ts';
import { HttpError } from '../errors.ts';
import { canonicalMediaType, isInRanges } from './media-ranges.ts';

/** What programs send for "I do not know": it says nothing, so the bytes decide. */
const UNSPECIFIC: readonly string[] = [
  'application/octet-stream',
  'binary/octet-stream',
  'application/unknown',
];

/** Declared types whose bytes look like another, more general one, which `sniffMediaType` answers with. */
const CONTAINERS: readonly { seenAs: string; declared: RegExp }[] = [
  {
    seenAs: 'application/zip',
    declared:
      /^application\/(?:vnd\.openxmlformats-officedocument\.|vnd\.ms-[a-z]+\.[a-z]+\.macroenabled\.12$|vnd\.apple\.|java-archive$|vnd\.android\.package-archive$|vnd\.google-earth\.kmz$|vnd\.comicbook\+zip$|x-apple-|vnd\.oasis\.opendocument\.|epub\+zip$|[a-z0-9.-]+\+zip$)/,
  },
  {
    seenAs: 'application/x-cfb',
    declared: /^application\/(?:msword|vnd\.ms-(?:excel|powerpoint|project|outlook|works)|vnd\.visio|x-msi)$/,
  },
  { seenAs: 'text/xml', declared: /\+xml$/ },
  { seenAs: 'text/html', declared: /^application\/xhtml\+xml$/ },
  { seenAs: 'application/x-sh', declared: /^(?:text\/|application\/x-(?:csh|perl|php|python|ruby)$)/ },
  {
    seenAs: 'application/gzip',
    declared: /^(?:application\/(?:x-compressed-tar|x-gtar)|[a-z]+\/[a-z0-9.-]+\+gzip)$/,
  },
  { seenAs: 'image/tiff', declared: /^image\/x-(?:adobe-dng|canon-cr2|nikon-nef|sony-arw|pentax-pef)$/ },
  { seenAs: 'video/mp4', declared: /^(?:audio|application)\/mp4$|^video\/(?:x-m4v|quicktime)$/ },
  { seenAs: 'video/webm', declared: /^audio\/webm$/ },
  { seenAs: 'video/x-matroska', declared: /^(?:audio\/x-matroska|(?:audio|video)\/webm)$/ },
  { seenAs: 'image/heif', declared: /^image\/(?:heic|avif)$/ },
  { seenAs: 'image/heic', declared: /^image\/heif$/ },
  { seenAs: 'audio/ogg', declared: /^(?:audio\/opus|application\/ogg)$/ },
  { seenAs: 'video/ogg', declared: /^application\/ogg$/ },
  { seenAs: 'video/x-ms-wmv', declared: /^(?:audio\/x-ms-wma|video\/x-ms-asf)$/ },
  { seenAs: 'application/postscript', declared: /^application\/(?:illustrator|eps)$/ },
  { seenAs: 'application/pdf', declared: /^application\/(?:illustrator|vnd\.adobe\.illustrator)$/ },
];

/**
 * At creation. A type that is not declared, or declared as anything at all, is left to the bytes.
 * Throws HttpError type_not_allowed.
 *
 * @param allowed canonical ranges
 */
export function checkDeclaredType(declared: string | null, allowed: readonly string[]): void {
  const type = specificType(declared);
  if (type === undefined || isInRanges(type, allowed)) return;
  throw new HttpError('type_not_allowed', { message: notAccepted(`Files of the type ${type}`, allowed) });
}

/**
 * At the finish: why these bytes may not stay, or undefined when they may.
 *
 * Bytes that give their type away have to be of an allowed type, or of a container that the declared one comes in.
 * Bytes that do not (texts, formats without a signature) are believed to be what was declared, unless that is a
 * type whose bytes would have been recognized.
 *
 * @param head the first SNIFFED_BYTES bytes, or all there are
 */
export function findForbiddenContent(
  head: Buffer,
  declared: string | null,
  allowed: readonly string[],
): string | undefined {
  if (allowed.includes('*/*')) return undefined;
  const type = specificType(declared);
  const seen = sniffMediaType(head);
  if (seen !== undefined) {
    if (isInRanges(canonicalMediaType(seen), allowed)) return undefined;
    if (type !== undefined && isInRanges(type, allowed) && comesIn(seen, type)) return undefined;
    return notAccepted(`The bytes are of the type ${seen}, and such files`, allowed);
  }
  if (type === undefined) {
    return `The type of these bytes cannot be told, and only ${allowed.join(', ')} is accepted here.`;
  }
  if (!isInRanges(type, allowed)) return notAccepted(`Files of the type ${type}`, allowed);
  const isText = type.startsWith('text/') || type.endsWith('+xml') || type.endsWith('+json');
  const isSomethingElse = isAlwaysRecognized(type) || (isText && !looksLikeText(head));
  return isSomethingElse ? `The bytes are not of the declared type ${type}.` : undefined;
}

function specificType(declared: string | null): string | undefined {
  if (declared === null) return undefined;
  const type = canonicalMediaType(declared);
  return UNSPECIFIC.includes(type) ? undefined : type;
}

function comesIn(seen: string, declared: string): boolean {
  return CONTAINERS.some((container) => container.seenAs === seen && container.declared.test(declared));
}

function notAccepted(what: string, allowed: readonly string[]): string {
  return `${what} are not accepted here, only ${allowed.join(', ')}.`;
}
