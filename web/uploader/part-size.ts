const MIB = 1024 * 1024;

/** S3: every part but the last one has at least 5 MiB, and there are at most 10,000. */
export const MIN_PART_BYTES = 5 * MIB;
const MAX_PARTS = 10_000;

const STEPS: readonly (readonly [upToBytes: number, partBytes: number])[] = [
  [200 * MIB, 5 * MIB],
  [2 * 1024 * MIB, 8 * MIB],
  [10 * 1024 * MIB, 16 * MIB],
  [100 * 1024 * MIB, 32 * MIB],
];
const LARGEST_STEP = 64 * MIB;

/**
 * How large the parts of a file are: small ones are cheap to send again and show progress early, large ones need
 * fewer requests.
 *
 * @param chosenBytes what the caller wants; raised where S3 would refuse it
 */
export function partSizeFor(fileBytes: number, chosenBytes?: number): number {
  const wanted = chosenBytes ?? STEPS.find(([upTo]) => fileBytes <= upTo)?.[1] ?? LARGEST_STEP;
  const needed = Math.ceil(fileBytes / MAX_PARTS / MIB) * MIB;
  return Math.max(MIN_PART_BYTES, Math.ceil(wanted), needed);
}

export interface Part {
  /** From 1. */
  number: number;
  start: number;
  /** Exclusive. */
  end: number;
}

export function planParts(fileBytes: number, partBytes: number): Part[] {
  const parts: Part[] = [];
  for (let start = 0; start < fileBytes; start += partBytes) {
    parts.push({ number: parts.length + 1, start, end: Math.min(start + partBytes, fileBytes) });
  }
  return parts;
}
