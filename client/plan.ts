import type { PartialUpload } from './resume-store.ts';

/** How one upload is cut up. */
export interface UploadPlan {
  /** Requests at the same time; more than one makes a final upload of as many partial ones. */
  parallel: number;
  /** Most bytes of one request. */
  chunkSizeBytes: number;
}

export const MAX_PARALLEL = 50;
export const MIN_CHUNK_BYTES = 64 * 1024;
/** A stream of unknown length is kept in memory until it is acknowledged, one such piece at a time. */
export const STREAM_CHUNK_BYTES = 8 * 1024 ** 2;
export const MAX_STREAM_CHUNK_BYTES = 64 * 1024 ** 2;

const MB = 1000 ** 2;
const MIB = 1024 ** 2;
/** Below this, one more partial upload costs more than it gains. */
const MIN_PART_BYTES = 64 * 1024;

/** What suits a size: larger chunks for larger uploads, and fewer requests at once where each one is long. */
export function defaultPlan(size: number): UploadPlan {
  if (size < 64 * MB) return { parallel: 1, chunkSizeBytes: Number.MAX_SAFE_INTEGER };
  if (size <= 1000 * MB) return { parallel: 10, chunkSizeBytes: 8 * MIB };
  if (size <= 10_000 * MB) return { parallel: 5, chunkSizeBytes: 32 * MIB };
  return { parallel: 2, chunkSizeBytes: 64 * MIB };
}

/** @throws RangeError */
export function choosePlan(
  size: number,
  wish: { parallel?: number | undefined; chunkSizeBytes?: number | undefined },
): UploadPlan {
  const { parallel, chunkSizeBytes } = { ...defaultPlan(size), ...definedOf(wish) };
  if (!Number.isInteger(parallel) || parallel < 1 || parallel > MAX_PARALLEL) {
    throw new RangeError(`parallel must be a whole number from 1 to ${MAX_PARALLEL}`);
  }
  if (!Number.isInteger(chunkSizeBytes) || chunkSizeBytes < MIN_CHUNK_BYTES) {
    throw new RangeError(`a chunk must have at least ${MIN_CHUNK_BYTES} bytes`);
  }
  return { parallel: Math.min(parallel, Math.max(1, Math.floor(size / MIN_PART_BYTES))), chunkSizeBytes };
}

/** Adjoining ranges of equal length, the last one with what is left over. */
export function splitIntoParts(size: number, count: number): PartialUpload[] {
  const length = Math.floor(size / count);
  return Array.from({ length: count }, (_unused, index) => ({
    start: index * length,
    end: index === count - 1 ? size : (index + 1) * length,
    url: null,
  }));
}

function definedOf<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
