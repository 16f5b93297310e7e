import type { Digest } from '../../stores/stored-upload.ts';
import { HttpError } from '../errors.ts';

const SHA256_BYTES = 32;
/** One member of the Dictionary: an algorithm, and a Byte Sequence with parameters that nobody defined. */
const MEMBER = /^([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):(?: *;.*)?$/;

/**
 * The SHA-256 of a `Repr-Digest` or `Content-Digest` header (RFC 9530): `sha-256=:<base64>:`, possibly among other
 * algorithms. Undefined without the header. A digest that a client wants verified is never silently ignored.
 *
 * @throws HttpError invalid_checksum, unsupported_digest
 */
export function parseDigestField(name: string, text: string | string[] | undefined): Digest | undefined {
  if (text === undefined) return undefined;
  let digest: Digest | undefined;
  for (const part of (Array.isArray(text) ? text.join(',') : text).split(',')) {
    const [, algorithm, base64] = MEMBER.exec(part.trim()) ?? [];
    const bytes = base64 === undefined ? undefined : Buffer.from(base64, 'base64');
    if (bytes === undefined || (algorithm === 'sha-256' && bytes.length !== SHA256_BYTES)) {
      throw new HttpError('invalid_checksum', {
        message: `${name} must be a list of algorithm=:base64: (RFC 9530), sha-256 with 32 bytes among them.`,
      });
    }
    // RFC 9651, 3.2: of a key that occurs twice the last value counts.
    if (algorithm === 'sha-256') digest = { algorithm, hex: bytes.toString('hex') };
  }
  if (digest === undefined) throw new HttpError('unsupported_digest');
  return digest;
}

/**
 * The digest of one upload that is declared in several places of a request.
 *
 * @throws HttpError invalid_checksum
 */
export function agreeOnDigest(digests: readonly (Digest | undefined)[]): Digest | undefined {
  const declared = digests.filter((digest) => digest !== undefined);
  if (new Set(declared.map(({ hex }) => hex)).size > 1) {
    throw new HttpError('invalid_checksum', {
      message: 'The request declares different digests of one upload.',
    });
  }
  return declared[0];
}

/** The header's value for a digest in hexadecimal. */
export function digestField(sha256Hex: string): string {
  return `sha-256=:${Buffer.from(sha256Hex, 'hex').toString('base64')}:`;
}

/** Whether a `Want-Repr-Digest` (RFC 9530, 4) asks for SHA-256: a preference of 1 to 10. */
export function wantsSha256(text: string | string[] | undefined): boolean {
  const members = (Array.isArray(text) ? text.join(',') : (text ?? '')).split(',');
  return members.some((member) => /^ *sha-256=(?:[1-9]|10) *$/.test(member));
}
