import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { crc32 } from 'node:zlib';
import type { BodyChecksum } from '../../stores/types.ts';
import { HttpError } from '../errors.ts';
import { crc32c } from './crc32c.ts';
import { hasBody, headerText } from './tus-headers.ts';

interface RunningHash {
  update(chunk: Buffer): unknown;
  digest(): Buffer;
}

interface Algorithm {
  digestBytes: number;
  start(): RunningHash;
}

const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map([
  ['sha1', cryptographic('sha1', 20)],
  ['sha256', cryptographic('sha256', 32)],
  ['sha512', cryptographic('sha512', 64)],
  ['md5', cryptographic('md5', 16)],
  ['crc32', cyclic(crc32)],
  ['crc32c', cyclic(crc32c)],
]);

/** The value of Tus-Checksum-Algorithm. */
export const CHECKSUM_ALGORITHMS = [...ALGORITHMS.keys()].join(',');

/** An algorithm, one space, base64 with its padding. */
const VALUE = /^([^ ,]+) ([A-Za-z0-9+/]+={0,2})$/;

/**
 * The checksum of a request's body (tus 1.0.0, Checksum): the header `Upload-Checksum`, or a trailer of that name
 * which `Trailer` announces. Undefined for a request that has neither.
 *
 * @throws HttpError unsupported_checksum, invalid_checksum; checksum_mismatch where there is no body to wait for
 */
export function readUploadChecksum(request: IncomingMessage): BodyChecksum | undefined {
  const { headers } = request;
  const value = headerText(headers, 'upload-checksum');
  const isTrailing = headers.trailer !== undefined && announcesTrailer(headers);
  if (value === undefined) return isTrailing ? trailingChecksum(request) : undefined;
  if (isTrailing) {
    throw new HttpError('invalid_checksum', {
      message: 'Upload-Checksum must be a header or a trailer, not both.',
    });
  }
  const checksum = leadingChecksum(value);
  if (!hasBody(headers) && !checksum.matches()) throw new HttpError('checksum_mismatch');
  return checksum;
}

function leadingChecksum(value: string): BodyChecksum & { matches(): boolean } {
  const { algorithm, expected } = parseValue(value);
  const hash = algorithm.start();
  return {
    update: (chunk) => void hash.update(chunk),
    matches: () => hash.digest().equals(expected),
  };
}

/** The algorithm is known when the body is over: then it is hashed from where it was gathered. */
function trailingChecksum(request: IncomingMessage): BodyChecksum {
  return {
    update() {},
    async matches(reread) {
      const value = request.trailers['upload-checksum'];
      if (value === undefined) {
        throw new HttpError('invalid_checksum', {
          message: 'The trailer Upload-Checksum was announced and did not come.',
        });
      }
      const { algorithm, expected } = parseValue(value);
      const hash = algorithm.start();
      for await (const chunk of reread()) hash.update(chunk);
      return hash.digest().equals(expected);
    },
  };
}

/** "Following RFC 7230 they MUST be announced using the Trailer header and are only allowed in chunked transfers." */
function announcesTrailer(headers: IncomingHttpHeaders): boolean {
  const names = (headers.trailer as string).toLowerCase().split(',');
  if (!names.some((name) => name.trim() === 'upload-checksum')) return false;
  if (headers['transfer-encoding'] !== undefined) return true;
  throw new HttpError('invalid_checksum', {
    message: 'A trailer is only possible in a request with Transfer-Encoding: chunked.',
  });
}

function parseValue(value: string): { algorithm: Algorithm; expected: Buffer } {
  const [, name = '', base64 = ''] = VALUE.exec(value) ?? [];
  const algorithm = ALGORITHMS.get(name);
  if (name !== '' && algorithm === undefined) throw new HttpError('unsupported_checksum');
  const expected = Buffer.from(base64, 'base64');
  if (algorithm === undefined || expected.length !== algorithm.digestBytes) {
    throw new HttpError('invalid_checksum', {
      message: 'Upload-Checksum must be the name of an algorithm, a space, and the checksum in base64.',
    });
  }
  return { algorithm, expected };
}

function cryptographic(name: string, digestBytes: number): Algorithm {
  return { digestBytes, start: () => createHash(name) };
}

/** The four bytes in network order. */
function cyclic(continued: (bytes: Buffer, previous: number) => number): Algorithm {
  return {
    digestBytes: 4,
    start() {
      let checksum = 0;
      return {
        update(chunk) {
          checksum = continued(chunk, checksum);
        },
        digest() {
          const bytes = Buffer.alloc(4);
          bytes.writeUInt32BE(checksum);
          return bytes;
        },
      };
    },
  };
}
