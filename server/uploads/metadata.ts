import { HttpError } from '../errors.ts';

/** The values of an `Upload-Metadata` header, by key, in the order in which they were sent. */
export interface UploadMetadata {
  has(key: string): boolean;
  keys(): string[];
  /** The value's bytes (none for an empty or absent value); undefined without the key. */
  bytes(key: string): Uint8Array | undefined;
  /** The value read as UTF-8, each invalid sequence as U+FFFD: never throws. Undefined without the key. */
  text(key: string): string | undefined;
}

/** What the server itself reads out of an upload's metadata. */
export interface UploadDescription {
  filename: string | null;
  /** A media type as declared by the client: a hint, never trusted for how bytes are served. */
  contentType: string | null;
  group: string | null;
  /** SHA-256 of the whole upload, 64 lower-case hexadecimal digits. */
  declaredSha256Hex: string | null;
}

/** Codes invalid_metadata (the header itself) and invalid_checksum (the digest that it declares). */
export class InvalidMetadataError extends HttpError {
  constructor(message: string, code: 'invalid_metadata' | 'invalid_checksum' = 'invalid_metadata') {
    super(code, { message });
    this.name = 'InvalidMetadataError';
  }
}

/** Visible ASCII but the comma. tus: "The key MUST NOT contain spaces and commas and MUST NOT be empty." */
const KEY = /^[\x21-\x2b\x2d-\x7e]+$/;
/** RFC 4648 section 4, with its padding; the length is checked apart. */
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
/** RFC 9110 section 8.3.1, with parameters. */
const MEDIA_TYPE =
  /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+(?:[ \t]*;[ \t]*[\w!#$%&'*+.^`|~-]+=(?:[\w!#$%&'*+.^`|~-]+|"[ !#-[\]-~]*"))*$/;

const MAX_MEDIA_TYPE_LENGTH = 255;
const MAX_GROUP_CHARACTERS = 256;
const SHA256_BYTES = 32;

/**
 * Reads an `Upload-Metadata` header (tus 1.0.0, Creation). Undefined and the empty value (tuspy sends it) are no
 * metadata. Spaces and tabs around commas are ignored, as in tusd: HTTP itself joins repeated headers by ", ".
 * Everything else is as strict as the specification, since what is guessed now would be stored for good. Throws
 * InvalidMetadataError, naming the key where there is one.
 */
export function parseUploadMetadata(header: string | null | undefined): UploadMetadata {
  // A Map: `__proto__` and `constructor` are keys like any other.
  const values = new Map<string, Buffer>();
  const text = trimBlanks(header ?? '');
  if (text !== '') {
    for (const element of text.split(',')) {
      const { key, value } = parsePair(trimBlanks(element));
      if (values.has(key))
        throw new InvalidMetadataError(`Upload-Metadata has the key ${quoteKey(key)} twice.`);
      values.set(key, value);
    }
  }
  return {
    has: (key) => values.has(key),
    keys: () => [...values.keys()],
    bytes: (key) => values.get(key),
    text: (key) => values.get(key)?.toString('utf8'),
  };
}

function parsePair(pair: string): { key: string; value: Buffer } {
  const space = pair.indexOf(' ');
  const key = space === -1 ? pair : pair.slice(0, space);
  if (key === '') throw new InvalidMetadataError('Upload-Metadata has a pair without a key.');
  if (!KEY.test(key)) {
    throw new InvalidMetadataError(`Upload-Metadata has the key ${quoteKey(key)}: keys are visible ASCII.`);
  }
  // tus: "The value MAY be empty. In these cases, the space […] MAY be left out."
  const encoded = space === -1 ? '' : pair.slice(space + 1);
  if (encoded.length % 4 !== 0 || !BASE64.test(encoded)) {
    throw new InvalidMetadataError(`The value of ${quoteKey(key)} in Upload-Metadata is not valid base64.`);
  }
  return { key, value: Buffer.from(encoded, 'base64') };
}

/**
 * What tus-js-client, Uppy, tuspy and others put under different keys. A value that is empty or does not fit is
 * null, except for `checksum`: bytes that a client wants verified are never silently taken unverified. Throws
 * InvalidMetadataError for a checksum that cannot be read or has another algorithm than SHA-256.
 */
export function describeUpload(metadata: UploadMetadata): UploadDescription {
  const group = metadata.text('group') || null;
  return {
    filename: metadata.text('filename') || metadata.text('name') || null,
    contentType: declaredContentType(metadata),
    group: group !== null && countCharacters(group) <= MAX_GROUP_CHARACTERS ? group : null,
    declaredSha256Hex: parseChecksum(metadata.text('checksum')),
  };
}

function declaredContentType(metadata: UploadMetadata): string | null {
  for (const key of ['filetype', 'type', 'contentType']) {
    const text = metadata.text(key)?.trim();
    if (text !== undefined && text.length <= MAX_MEDIA_TYPE_LENGTH && MEDIA_TYPE.test(text)) return text;
  }
  return null;
}

function parseChecksum(text: string | undefined): string | null {
  if (text === undefined) return null;
  const [algorithm = '', digest = '', ...rest] = text.trim().split(/\s+/);
  if (!/^sha-?256$/i.test(algorithm)) {
    const known = 'only sha256 is known: "sha256", a space, and the digest in base64 or hexadecimal.';
    throw new InvalidMetadataError(
      `The checksum's algorithm is ${quoteKey(algorithm)}; ${known}`,
      'invalid_checksum',
    );
  }
  const bytes = rest.length > 0 ? undefined : decodeDigest(digest);
  if (bytes === undefined) {
    throw new InvalidMetadataError(
      `The checksum's digest is not ${SHA256_BYTES} bytes in base64 or hexadecimal.`,
      'invalid_checksum',
    );
  }
  return bytes.toString('hex');
}

/** 64 characters are hexadecimal, 44 base64: neither can be mistaken for the other. */
export function decodeDigest(digest: string): Buffer | undefined {
  if (/^[0-9a-f]{64}$/i.test(digest)) return Buffer.from(digest, 'hex');
  if (/^[A-Za-z0-9+/]{43}=$/.test(digest)) return Buffer.from(digest, 'base64');
  return undefined;
}

/**
 * The header for these keys and values; strings are sent as UTF-8. Throws InvalidMetadataError for a key that
 * the protocol does not allow, or one given twice.
 */
export function encodeUploadMetadata(
  values:
    | Readonly<Record<string, string | Uint8Array | null>>
    | Iterable<readonly [string, string | Uint8Array | null]>,
): string {
  const entries = Symbol.iterator in values ? [...values] : Object.entries(values);
  const header = entries
    .map(([key, value]) => {
      if (!KEY.test(key))
        throw new InvalidMetadataError(`${quoteKey(key)} is no key: keys are visible ASCII.`);
      const encoded = Buffer.from(value ?? '').toString('base64');
      return encoded === '' ? key : `${key} ${encoded}`;
    })
    .join(',');
  parseUploadMetadata(header);
  return header;
}

/**
 * Spaces and tabs: HTTP's optional whitespace (`trim` would take more). Not by a regular expression: `[ \t]+$` takes
 * quadratic time on a long run of blanks inside a value.
 */
function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text[start])) start++;
  while (end > start && isBlank(text[end - 1])) end--;
  return text.slice(start, end);
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t';
}

function countCharacters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Safe to show in a message, however long or odd the key is. */
function quoteKey(key: string): string {
  const shown = key.length > 64 ? `${key.slice(0, 64)}…` : key;
  return JSON.stringify(shown);
}
