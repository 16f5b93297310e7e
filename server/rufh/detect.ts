import type { IncomingHttpHeaders } from 'node:http';
import { mediaTypeOf } from '../tus/tus-headers.ts';
import { parseCountItem } from './structured-fields.ts';
import { NEWEST_VERSION, OLDEST_VERSION, type RufhVersion, versionOf } from './versions.ts';

export const PARTIAL_UPLOAD_TYPE = 'application/partial-upload';

export interface RufhDialect {
  version: RufhVersion;
  /**
   * The client named a version that we speak: "Server implementations […] MUST NOT send a 104 (Upload Resumption
   * Supported) informational response when the interop version […] is missing or mismatching."
   */
  takesInterim: boolean;
}

const CREATION_OR_UPLOAD_METHODS = ['POST', 'PUT', 'PATCH', 'HEAD', 'DELETE'];

/**
 * Tells a request of the IETF draft from one of tus v1 at the same address, by its headers alone. Undefined: tus
 * (or a plain request). GET and OPTIONS are answered alike for everybody.
 */
export function detectRufh(method: string, headers: IncomingHttpHeaders): RufhDialect | undefined {
  if (!CREATION_OR_UPLOAD_METHODS.includes(method) || headers['tus-resumable'] !== undefined) {
    return undefined;
  }
  const named = headers['upload-draft-interop-version'];
  const version = versionOf(parseCountItem(named));
  if (version !== undefined) return { version, takesInterim: true };
  // A client of the RFC to come names no version.
  const isRufh =
    named !== undefined ||
    headers['upload-complete'] !== undefined ||
    headers['upload-incomplete'] !== undefined ||
    (method === 'PATCH' && mediaTypeOf(headers) === PARTIAL_UPLOAD_TYPE);
  if (!isRufh) return undefined;
  const isOldest = headers['upload-incomplete'] !== undefined && headers['upload-complete'] === undefined;
  return { version: isOldest ? OLDEST_VERSION : NEWEST_VERSION, takesInterim: false };
}
