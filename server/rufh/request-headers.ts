import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { parse as parseContentDisposition } from 'content-disposition';
import type { Digest } from '../../stores/stored-upload.ts';
import type { BodyChecksum } from '../../stores/types.ts';
import { HttpError } from '../errors.ts';
import { hasBody, mediaTypeOf, OFFSET_CONTENT_TYPE, readContentLength } from '../tus/tus-headers.ts';
import { agreeOnDigest, parseDigestField } from '../uploads/digest-fields.ts';
import { describeUpload, encodeUploadMetadata, parseUploadMetadata } from '../uploads/metadata.ts';
import { PARTIAL_UPLOAD_TYPE } from './detect.ts';
import { parseBooleanItem, parseCountItem } from './structured-fields.ts';
import type { RufhVersion } from './versions.ts';

/** Up to -05, HEAD and DELETE "MUST NOT include" these. */
const STATE_HEADERS = ['upload-offset', 'upload-complete', 'upload-incomplete', 'upload-length'];

/** Whether the request says that its content is the end of the upload; undefined when it does not say. */
export function readCompleteness(version: RufhVersion, headers: IncomingHttpHeaders): boolean | undefined {
  const value = parseBooleanItem(headers[version.completeness]);
  return version.completeness === 'upload-incomplete' && value !== undefined ? !value : value;
}

export function missingCompleteness(header: string): HttpError {
  return new HttpError('invalid_header', { message: `${header} must be given, as ?1 or ?0.` });
}

/** Bytes of content; undefined when only its end will tell. */
export function readBodyBytes(headers: IncomingHttpHeaders): number | undefined {
  return hasBody(headers) ? readContentLength(headers) : 0;
}

/**
 * The length of the upload as this request and everything before it tell it. Draft -12, 4.1.3: "If indicators (1)
 * and (2) are both present in the same request, their indicated lengths MUST match. If multiple requests include
 * indicators, their indicated values MUST match."
 *
 * @throws HttpError inconsistent_length
 */
export function agreeOnLength(
  headers: IncomingHttpHeaders,
  known: { offset: number; size: number | undefined; completes: boolean },
): number | undefined {
  const bodyBytes = readBodyBytes(headers);
  const declared = parseCountItem(headers['upload-length']);
  const implied = known.completes && bodyBytes !== undefined ? known.offset + bodyBytes : undefined;
  const size = known.size ?? declared ?? implied;
  if (size === undefined) return undefined;
  if ((declared ?? size) !== size || (implied ?? size) !== size) throw new HttpError('inconsistent_length');
  if (known.offset + (bodyBytes ?? 0) > size) throw new HttpError('inconsistent_length');
  return size;
}

/**
 * What the upload is: `Upload-Metadata` as it came (tus-js-client sends it in this protocol too), or else the name
 * and the type that the standard headers give it. "The Content-Disposition header field can be used to transmit a
 * filename", "the Content-Type header field indicates the media type of the representation."
 *
 * @throws HttpError invalid_metadata, invalid_checksum
 */
export function readMetadata(headers: IncomingHttpHeaders): string | undefined {
  const sent = headers['upload-metadata'];
  if (typeof sent === 'string' && sent !== '') {
    parseUploadMetadata(sent);
    return sent;
  }
  const values: Record<string, string> = {};
  const filename = filenameOf(headers['content-disposition']);
  if (filename !== undefined) values.filename = filename;
  const mediaType = mediaTypeOf(headers);
  if (mediaType && mediaType !== PARTIAL_UPLOAD_TYPE && mediaType !== OFFSET_CONTENT_TYPE) {
    values.filetype = headers['content-type'] as string;
  }
  return Object.keys(values).length > 0 ? encodeUploadMetadata(values) : undefined;
}

function filenameOf(disposition: string | undefined): string | undefined {
  if (disposition === undefined) return undefined;
  // Node reads headers as Latin-1; many clients send UTF-8 in them.
  const utf8 = Buffer.from(disposition, 'latin1').toString('utf8');
  const text = utf8.includes('�') ? disposition : utf8;
  return parseContentDisposition(text).parameters.filename || undefined;
}

/**
 * The digest of the whole upload, declared at its creation: `Repr-Digest`, or the `Content-Digest` of a request that
 * has all of it, or `checksum` in the metadata. It is verified at the finish.
 *
 * @throws HttpError invalid_checksum, unsupported_digest
 */
export function readCreationDigest(
  headers: IncomingHttpHeaders,
  { completes, rawMetadata }: { completes: boolean; rawMetadata: string | undefined },
): Digest | undefined {
  const { declaredSha256Hex } = describeUpload(parseUploadMetadata(rawMetadata));
  return agreeOnDigest([
    parseDigestField('Repr-Digest', headers['repr-digest']),
    completes ? parseDigestField('Content-Digest', headers['content-digest']) : undefined,
    declaredSha256Hex === null ? undefined : { algorithm: 'sha-256' as const, hex: declaredSha256Hex },
  ]);
}

/**
 * The `Content-Digest` of this request's content: "If the digests don't match, the server SHOULD […] not append the
 * content", so that nothing of it is stored before all of it is verified.
 *
 * @throws HttpError invalid_checksum, unsupported_digest; digest_mismatch where there is no content to wait for
 */
export function readContentChecksum(headers: IncomingHttpHeaders): BodyChecksum | undefined {
  const digest = parseDigestField('Content-Digest', headers['content-digest']);
  if (digest === undefined) return undefined;
  const hash = createHash('sha256');
  const matches = () => hash.digest('hex') === digest.hex;
  if (!hasBody(headers) && !matches()) throw new HttpError('digest_mismatch');
  return { update: (chunk) => void hash.update(chunk), matches };
}

/** The stored bytes are served as they are: with a coding they would not be what their media type says. */
export function refuseContentCoding(headers: IncomingHttpHeaders): void {
  const coding = headers['content-encoding']?.trim().toLowerCase();
  if (coding !== undefined && coding !== '' && coding !== 'identity') {
    throw new HttpError('unsupported_content_coding');
  }
}

/** @throws HttpError invalid_header for what a HEAD or DELETE of this version must not say */
export function refuseStateHeaders(version: RufhVersion, headers: IncomingHttpHeaders): void {
  if (!version.refusesStateInQueries) return;
  const name = STATE_HEADERS.find((header) => headers[header] !== undefined);
  if (name === undefined) return;
  throw new HttpError('invalid_header', { message: `This request must not have the header ${name}.` });
}
