import type { IncomingHttpHeaders } from 'node:http';
import { PARTIAL_UPLOAD_TYPE } from './detect.ts';
import { parseCountItem } from './structured-fields.ts';
import { NEWEST_VERSION, type RufhVersion, versionOf } from './versions.ts';

export interface UploadLimits {
  /** Undefined: no limit. */
  maxSizeBytes: number | undefined;
  /** Milliseconds that an upload has left; undefined: it does not expire. */
  remainingMs: number | undefined;
}

/**
 * The value of `Upload-Limit`, a Dictionary; undefined for the versions that do not have it. There is no limit on
 * one append: a body may be as long as the upload.
 */
export function uploadLimit(
  version: RufhVersion,
  { maxSizeBytes, remainingMs }: UploadLimits,
): string | undefined {
  if (version.lifetimeKey === undefined) return undefined;
  const limits = [];
  if (maxSizeBytes !== undefined) limits.push(`max-size=${maxSizeBytes}`);
  if (remainingMs !== undefined) {
    limits.push(`${version.lifetimeKey}=${Math.max(0, Math.floor(remainingMs / 1000))}`);
  }
  // Draft -12, 4.1.4: "If the server does not apply any limits, it MUST use min-size=0 instead of an empty header".
  return limits.length > 0 ? limits.join(', ') : 'min-size=0';
}

/**
 * What an OPTIONS answer of the base path says of this protocol. To everybody: a client that only wants to know
 * sends nothing that we could recognize it by.
 */
export function rufhCapabilities(headers: IncomingHttpHeaders, limits: UploadLimits): Record<string, string> {
  const version = versionOf(parseCountItem(headers['upload-draft-interop-version'])) ?? NEWEST_VERSION;
  const limit = uploadLimit(version, limits);
  return {
    // -10 and -11: "The value […] MUST include the full application/partial-upload media type" (RFC 5789, 3.1).
    'accept-patch': `application/offset+octet-stream, ${PARTIAL_UPLOAD_TYPE}`,
    ...(limit === undefined ? {} : { 'upload-limit': limit }),
  };
}
