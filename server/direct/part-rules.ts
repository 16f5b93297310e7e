import type { DirectLimits, DirectPart } from '../../stores/direct-types.ts';
import { HttpError } from '../errors.ts';

/** What a direct upload may grow to: its declared length, or else what is allowed at most. Bytes. */
export interface SizeBounds {
  /** Undefined: not declared. */
  size: number | undefined;
  maxSizeBytes: number | undefined;
  /** Declared length of every part but the last. */
  partSize: number | undefined;
}

/** The highest part number that an upload of this length can need. */
export function highestPart({ size, maxSizeBytes, partSize }: SizeBounds, limits: DirectLimits): number {
  const mostBytes = size ?? maxSizeBytes;
  if (mostBytes === undefined) return limits.maxParts;
  const smallestPart = partSize ?? limits.minPartSizeBytes;
  return Math.min(limits.maxParts, Math.max(1, Math.ceil(mostBytes / smallestPart)));
}

/** The length that part `partNumber` must have, where it is known. */
export function lengthOfPart({ size, partSize }: SizeBounds, partNumber: number): number | undefined {
  if (size === undefined || partSize === undefined) return undefined;
  return Math.min(partSize, size - (partNumber - 1) * partSize);
}

/**
 * Checks the layout that a client declares. Throws HttpError invalid_request; size_limit where no layout of as many
 * parts as there may be holds the upload.
 */
export function checkLayout(
  { size, partSize }: Pick<SizeBounds, 'size' | 'partSize'>,
  { minPartSizeBytes, maxPartSizeBytes, maxParts }: DirectLimits,
): void {
  if (size === 0) {
    throw new HttpError('invalid_request', { message: 'An empty file has no parts: send it by /s3/params.' });
  }
  if (size !== undefined && size > maxPartSizeBytes * maxParts) throw new HttpError('size_limit');
  if (partSize === undefined) return;
  const isLastOnly = size !== undefined && partSize >= size;
  if (partSize > maxPartSizeBytes || (partSize < minPartSizeBytes && !isLastOnly)) {
    throw new HttpError('invalid_request', {
      message: `partSize must be from ${minPartSizeBytes} to ${maxPartSizeBytes}.`,
    });
  }
  if (size !== undefined && Math.ceil(size / partSize) > maxParts) {
    throw new HttpError('invalid_request', {
      message: `With parts of ${partSize} bytes there would be more than ${maxParts}: make them larger.`,
    });
  }
}

/** A part as a client names it when it completes. */
export interface NamedPart {
  partNumber: number;
  etag: string;
}

/**
 * The parts that the client names must be those that are stored, all of them and no others. Throws HttpError
 * parts_mismatch, which names the first that is not.
 */
export function comparePartLists(named: readonly NamedPart[], stored: readonly DirectPart[]): void {
  const left = new Map(stored.map((part) => [part.partNumber, part]));
  for (const { partNumber, etag } of named) {
    const part = left.get(partNumber);
    if (part === undefined || bareEtag(part.etag) !== bareEtag(etag)) {
      throw new HttpError('parts_mismatch', {
        message: `Part ${partNumber} is not stored, or not as it was named: send it again.`,
      });
    }
    left.delete(partNumber);
  }
  const [unnamed] = left.keys();
  if (unnamed === undefined) return;
  throw new HttpError('parts_mismatch', {
    message: `Part ${unnamed} is stored and was not named: abort the upload, or name it.`,
  });
}

export function totalBytes(parts: readonly DirectPart[]): number {
  return parts.reduce((sum, { size }) => sum + size, 0);
}

/** Clients strip the quotes, or what a proxy did to them. */
function bareEtag(etag: string): string {
  return etag.replace(/^W\//, '').replaceAll('"', '');
}
