import type { ObjectAttributes } from './port.ts';

/** S3: all of a object's own metadata together, keys and values. */
const MAX_METADATA_BYTES = 2048;
const MAX_HEADER_BYTES = 1024;
const META_KEY = /^[A-Za-z0-9_-]{1,64}$/;
const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;
const MEDIA_TYPE = /^[A-Za-z0-9!#$&^_.+-]+\/[A-Za-z0-9!#$&^_.+-]+(;[\x20-\x7e]*)?$/;

/**
 * What the original tells about itself, from the client's Upload-Metadata (comma-separated `key base64`):
 * Content-Type from `filetype`, `contentType` or `type`; Content-Disposition from `filename` or `name`
 * (RFC 6266, with RFC 5987 for what is not ASCII); everything else as `x-amz-meta-*`, percent-encoded where it is
 * not printable ASCII, as far as it fits. The raw header in the info object stays the truth.
 */
export function objectAttributes(rawMetadata: string | null): ObjectAttributes {
  const pairs = decodeMetadata(rawMetadata);
  const attributes: ObjectAttributes = {};
  const type = pairs.get('filetype') ?? pairs.get('contentType') ?? pairs.get('type');
  if (type !== undefined && type.length <= 255 && MEDIA_TYPE.test(type)) attributes.contentType = type;
  const filename = pairs.get('filename') ?? pairs.get('name');
  if (filename !== undefined && filename !== '') {
    const disposition = contentDisposition(filename);
    if (disposition.length <= MAX_HEADER_BYTES) attributes.contentDisposition = disposition;
  }
  const metadata = metadataWithinLimits(pairs);
  if (Object.keys(metadata).length > 0) attributes.metadata = metadata;
  return attributes;
}

function decodeMetadata(rawMetadata: string | null): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const pair of (rawMetadata ?? '').split(',')) {
    const [key, value = ''] = pair.trim().split(' ');
    if (key) pairs.set(key, Buffer.from(value, 'base64').toString('utf8'));
  }
  return pairs;
}

function metadataWithinLimits(pairs: Map<string, string>): Record<string, string> {
  const metadata: Record<string, string> = Object.create(null);
  let bytes = 0;
  for (const [key, value] of pairs) {
    if (!META_KEY.test(key)) continue;
    const name = key.toLowerCase();
    const encoded =
      PRINTABLE_ASCII.test(value) && value === value.trim() ? value : encodeURIComponentSafely(value);
    if (name in metadata || bytes + name.length + encoded.length > MAX_METADATA_BYTES) continue;
    metadata[name] = encoded;
    bytes += name.length + encoded.length;
  }
  return metadata;
}

function contentDisposition(filename: string): string {
  const base =
    filename.slice(Math.max(filename.lastIndexOf('/'), filename.lastIndexOf('\\')) + 1) || 'upload';
  const fallback = base.replace(/[^\x20-\x7e]/gu, '_').replace(/["\\%]/g, '_');
  const plain = `attachment; filename="${fallback}"`;
  if (fallback === base) return plain;
  const extended = encodeURIComponentSafely(base).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16)}`,
  );
  return `${plain}; filename*=UTF-8''${extended}`;
}

function encodeURIComponentSafely(value: string): string {
  return encodeURIComponent(value.toWellFormed());
}
