import { createHash } from 'node:crypto';

/**
 * The part grid: part n of an upload always holds bytes [(n-1) * partSize, n * partSize), only the last one may be
 * short. So storing a part twice stores the same bytes, and a writer that comes late does no harm. Bytes after
 * the last full part live in a tail object. Pure functions; all sizes and offsets are bytes, part numbers start at 1.
 */
export interface Grid {
  partSize: number;
  /** Length of the whole upload; null while deferred. */
  size: number | null;
}

/** S3's own limits. */
export const MAX_PARTS = 10_000;
export const MAX_OBJECT_BYTES = 5 * 1024 ** 4;

const MIB = 1024 * 1024;

/** Size that part `partNumber` must have to count; 0 beyond the end. */
export function expectedPartSize(grid: Grid, partNumber: number): number {
  if (grid.size === null) return grid.partSize;
  return Math.max(0, Math.min(grid.partSize, grid.size - (partNumber - 1) * grid.partSize));
}

/** Number of parts of an upload of `size` bytes. */
export function totalParts(size: number, partSize: number): number {
  return Math.ceil(size / partSize);
}

/** End (exclusive) of the bytes in parts 1 to `partCount`. */
export function endOfParts(grid: Grid, partCount: number): number {
  const end = partCount * grid.partSize;
  return grid.size === null ? end : Math.min(end, grid.size);
}

/** Most bytes that an upload may have: its length, or while that is deferred, what the parts can hold. */
export function endOfGrid(grid: Grid, maxParts: number): number {
  return grid.size ?? Math.min(grid.partSize * maxParts, MAX_OBJECT_BYTES);
}

/**
 * How many parts, from 1 on and without a gap, are stored at their full expected size. `sizes` maps part numbers
 * to the sizes that S3 listed.
 */
export function contiguousParts(grid: Grid, sizes: { get(partNumber: number): number | undefined }): number {
  let count = 0;
  for (;;) {
    const expected = expectedPartSize(grid, count + 1);
    if (expected === 0 || sizes.get(count + 1) !== expected) return count;
    count += 1;
  }
}

export interface Tail {
  /** The object's name after `<id>.tail/`. */
  name: string;
  /** Offset of its first byte: always the end of a part. */
  base: number;
  length: number;
  hash: string;
}

const TAIL_NAME = /^(0|[1-9]\d{0,14})-([1-9]\d{0,12})-([0-9a-f]{16})$/;

/** `base-length-hash`: the name says what is inside, so the same bytes always have the same name. */
export function nameTail(base: number, length: number, hash: string): Tail {
  return { name: `${base}-${length}-${hash}`, base, length, hash };
}

/** Undefined for a name that is not exactly of our making. */
export function parseTailName(name: string): Tail | undefined {
  const match = TAIL_NAME.exec(name);
  if (!match) return undefined;
  return { name, base: Number(match[1]), length: Number(match[2]), hash: match[3] as string };
}

export function hashTail(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

export interface PartSizeLimits {
  /** Configured part size, used where nothing speaks for another one. */
  preferred: number;
  /** Smallest part that the provider takes (5 MiB), the last one excepted. */
  minimum: number;
  /** Largest part that is gathered in memory. Larger ones are used only where 10,000 parts need them. */
  maximumInMemory: number;
  maxParts: number;
}

/**
 * The part size for an upload, decided once. `requestBytes` is the length of the first request's body, if known:
 * a client that sends its upload in chunks of C bytes gets parts of k * C or C / k bytes, so that chunks end where
 * parts do and few tails have to be written.
 */
export function choosePartSize(
  size: number | null,
  requestBytes: number | undefined,
  limits: PartSizeLimits,
): number {
  const smallest =
    size === null ? limits.minimum : Math.max(limits.minimum, Math.ceil(size / limits.maxParts));
  const fallback = Math.max(limits.preferred, smallest <= limits.minimum ? 0 : roundUp(smallest, MIB));
  const isWholeUpload = requestBytes !== undefined && size !== null && requestBytes >= size;
  if (requestBytes === undefined || requestBytes === 0 || isWholeUpload || size === null) return fallback;
  const largest = Math.max(limits.preferred, Math.min(limits.maximumInMemory, 2 * limits.preferred));
  return fitToChunks(requestBytes, Math.max(smallest, limits.minimum), largest, fallback) ?? fallback;
}

function fitToChunks(chunk: number, smallest: number, largest: number, ideal: number): number | undefined {
  if (chunk < smallest) {
    const multiple = chunk * Math.ceil(smallest / chunk);
    return multiple <= largest ? multiple : undefined;
  }
  let best: number | undefined;
  for (let pieces = Math.ceil(chunk / largest); chunk / pieces >= smallest; pieces += 1) {
    if (chunk % pieces !== 0) continue;
    const candidate = chunk / pieces;
    if (best === undefined || Math.abs(candidate - ideal) < Math.abs(best - ideal)) best = candidate;
  }
  return best;
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
