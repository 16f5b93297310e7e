/** Sizes, rates and durations, as people write and read them. */

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1000,
  mb: 1000 ** 2,
  gb: 1000 ** 3,
  tb: 1000 ** 4,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
};
const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const QUANTITY = /^(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]*)$/;

/**
 * Bytes of `8MiB`, `100MB`, `1.5 GB` or `4096`. `8M` is refused: half of the world means 8,000,000 by it.
 *
 * @throws RangeError
 */
export function parseSize(text: string): number {
  const bytes = parseQuantity(text, UNITS);
  if (bytes === undefined || !Number.isSafeInteger(Math.round(bytes))) {
    throw new RangeError(`"${text}" is not a size such as 8MiB, 100MB or 4096`);
  }
  return Math.round(bytes);
}

/**
 * Bytes per second of `5MB/s`, `500kB` or `1MiB/s`.
 *
 * @throws RangeError
 */
export function parseRate(text: string): number {
  const rate = parseQuantity(text.replace(/ ?\/ ?s(?:ec)?$/i, ''), UNITS);
  if (rate === undefined || rate < 1)
    throw new RangeError(`"${text}" is not a rate such as 5MB/s or 500kB/s`);
  return rate;
}

/**
 * Milliseconds of `30s`, `5m` or `0`.
 *
 * @throws RangeError
 */
export function parseDuration(text: string): number {
  const ms = text === '0' ? 0 : parseQuantity(text, DURATION_UNITS);
  if (ms === undefined) throw new RangeError(`"${text}" is not a duration such as 30s, 5m or 1h`);
  return Math.round(ms);
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, number, unit = ''] = QUANTITY.exec(text.trim()) ?? [];
  const key = unit.toLowerCase();
  return number !== undefined && Object.hasOwn(units, key)
    ? Number(number) * (units[key] as number)
    : undefined;
}

/** 1234567 -> `1.23 MB`: three digits, decimal units. */
export function formatBytes(bytes: number): string {
  const names = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  // 999.5 would be shown as 1000.
  while (value >= 999.5 && unit < names.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${names[unit]}`;
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** 400 -> `0.4 s`, 75_000 -> `1:15`, 3_725_000 -> `1:02:05`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 60_000) return `${(durationMs / 1000).toFixed(durationMs < 9_950 ? 1 : 0)} s`;
  const seconds = Math.round(durationMs / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}
