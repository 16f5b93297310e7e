/**
 * Sizes and durations as people write them. Exact: all arithmetic is on integers, so `1.1GB` is 1,100,000,000
 * bytes and not a rounding error beside it. Every parser throws a RangeError whose message is the reason, in a few words.
 */

const SIZE_UNITS: Readonly<Record<string, bigint>> = {
  b: 1n,
  kb: 1000n,
  mb: 1000n ** 2n,
  gb: 1000n ** 3n,
  tb: 1000n ** 4n,
  kib: 1024n,
  mib: 1024n ** 2n,
  gib: 1024n ** 3n,
  tib: 1024n ** 4n,
};

const DURATION_UNITS: Readonly<Record<string, bigint>> = {
  ms: 1n,
  s: 1000n,
  m: 60_000n,
  h: 3_600_000n,
  d: 86_400_000n,
};

// `8M` and `8K` are refused on purpose: half of the world's tools mean 8,000,000 by it and the other half 8,388,608.
export const SIZE_FORM =
  'a size such as 8MiB (8,388,608 bytes), 8MB (8,000,000 bytes) or a plain number of bytes';
export const DURATION_FORM = 'a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d';

const QUANTITY = /^(\d{1,16})(?:\.(\d{1,12}))? ?([A-Za-z]*)$/;

/** Bytes of `8MiB`, `8MB`, `1.5 GiB`, `100B` or `4096`: a whole number up to 2^53-1. Units in any letter case. */
export function parseSize(text: string): number {
  return parseQuantity(text, SIZE_UNITS, 'b');
}

/** Milliseconds of `500ms`, `15s`, `5m`, `24h`, `7d` or `1.5s`. Without a unit only `0` is clear enough. */
export function parseDuration(text: string): number {
  if (/^0+$/.test(text)) {
    return 0;
  }
  return parseQuantity(text, DURATION_UNITS);
}

/** The shortest exact way to write a number of bytes: 8388608 -> `8MiB`, 8000001 -> `8000001B`. */
export function formatSize(bytes: number): string {
  for (const [unit, label] of [
    ['tib', 'TiB'],
    ['gib', 'GiB'],
    ['mib', 'MiB'],
    ['kib', 'KiB'],
    ['tb', 'TB'],
    ['gb', 'GB'],
    ['mb', 'MB'],
    ['kb', 'kB'],
  ] as const) {
    const factor = Number(SIZE_UNITS[unit]);
    if (bytes !== 0 && bytes % factor === 0) {
      return `${bytes / factor}${label}`;
    }
  }
  return `${bytes}B`;
}

/** The shortest exact way to write a number of milliseconds: 90000 -> `90s`, 86400000 -> `1d`. */
export function formatDuration(durationMs: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const factor = Number(DURATION_UNITS[unit]);
    if (durationMs !== 0 && durationMs % factor === 0) {
      return `${durationMs / factor}${unit}`;
    }
  }
  return `${durationMs}ms`;
}

function parseQuantity(text: string, units: Readonly<Record<string, bigint>>, defaultUnit = ''): number {
  const match = QUANTITY.exec(text);
  if (match === null) {
    throw new RangeError('this is not a number with a unit');
  }
  const unit = match[3]?.toLowerCase() || defaultUnit;
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (factor === undefined) {
    throw new RangeError(unit === '' ? 'the unit is missing' : `"${match[3]}" is not one of the units`);
  }
  const fraction = match[2] ?? '';
  const scale = 10n ** BigInt(fraction.length);
  const scaled = BigInt(`${match[1]}${fraction}`) * factor;
  if (scaled % scale !== 0n) {
    throw new RangeError('this is not a whole number of the smallest unit');
  }
  const value = scaled / scale;
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new RangeError('this is more than 2^53-1');
  }
  return Number(value);
}
