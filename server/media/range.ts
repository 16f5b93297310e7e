/** Both ends included, as in `Content-Range`. */
export interface ByteRange {
  start: number;
  end: number;
}

/** `none`: answer with the whole original. `unsatisfiable`: 416. `ranges`: one = 206, more = multipart/byteranges. */
export type RangeRequest =
  | { kind: 'none' }
  | { kind: 'unsatisfiable' }
  | { kind: 'ranges'; ranges: ByteRange[] };

/** RFC 9110, 14.2 lets a server ignore requests that look like abuse; real clients ask for a handful. */
const MAX_RANGES = 100;

/** int-range or suffix-range of RFC 9110, 14.1.1. */
const RANGE_SPEC = /^(\d*)-(\d*)$/;

/**
 * Reads a `Range` header for an original of `size` bytes (RFC 9110, section 14).
 *
 * Ranges come back in the order asked for; those that overlap or touch are merged into the first of them
 * (15.3.7.2), so no byte is ever sent twice. Ranges that start after the end are left out. Another unit, invalid
 * syntax or more than 100 ranges count as no header at all. So does any range of an empty original: `Content-Range`
 * cannot say "all of nothing", and clients that put `bytes=0-` on every request shall not see an error.
 */
export function parseRange(header: string | undefined, size: number): RangeRequest {
  const equals = header?.indexOf('=') ?? -1;
  if (header === undefined || equals === -1 || size === 0) return { kind: 'none' };
  // Range units are case-insensitive (14.1).
  if (header.slice(0, equals).toLowerCase() !== 'bytes') return { kind: 'none' };

  const ranges: ByteRange[] = [];
  let count = 0;
  for (const member of header.slice(equals + 1).split(',')) {
    const spec = trimWhitespace(member);
    // A list may have empty members (5.6.1.2).
    if (spec === '') continue;
    count += 1;
    if (count > MAX_RANGES) return { kind: 'none' };
    const range = readSpec(spec, size);
    if (range === 'invalid') return { kind: 'none' };
    if (range !== 'unsatisfiable') ranges.push(range);
  }
  if (count === 0) return { kind: 'none' };
  return ranges.length === 0 ? { kind: 'unsatisfiable' } : { kind: 'ranges', ranges: mergeRanges(ranges) };
}

function readSpec(spec: string, size: number): ByteRange | 'invalid' | 'unsatisfiable' {
  const match = RANGE_SPEC.exec(spec);
  const first = dropLeadingZeros(match?.[1] ?? '');
  const last = dropLeadingZeros(match?.[2] ?? '');
  if (match === null || (first === '' && last === '')) return 'invalid';
  if (first === '') {
    const length = toNumber(last);
    return length === 0 ? 'unsatisfiable' : { start: Math.max(0, size - length), end: size - 1 };
  }
  if (last !== '' && isLess(last, first)) return 'invalid';
  const start = toNumber(first);
  if (start >= size) return 'unsatisfiable';
  return { start, end: last === '' ? size - 1 : Math.min(toNumber(last), size - 1) };
}

function mergeRanges(ranges: ByteRange[]): ByteRange[] {
  const sorted = ranges.map((range, index) => ({ ...range, index })).sort((a, b) => a.start - b.start);
  const merged: typeof sorted = [];
  for (const range of sorted) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.start <= previous.end + 1) {
      previous.end = Math.max(previous.end, range.end);
      previous.index = Math.min(previous.index, range.index);
    } else {
      merged.push(range);
    }
  }
  return merged.sort((a, b) => a.index - b.index).map(({ start, end }) => ({ start, end }));
}

/** OWS of RFC 9110, 5.6.3; `trim()` would also take characters that make the header invalid. */
function trimWhitespace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && (text[start] === ' ' || text[start] === '\t')) start += 1;
  while (end > start && (text[end - 1] === ' ' || text[end - 1] === '\t')) end -= 1;
  return text.slice(start, end);
}

function dropLeadingZeros(digits: string): string {
  return digits.replace(/^0+(?=\d)/, '');
}

/** Compares digits without leading zeros as text: positions may be larger than any number we can hold. */
function isLess(a: string, b: string): boolean {
  return a.length === b.length ? a < b : a.length < b.length;
}

/** No original reaches 2^53 bytes: everything above is as good as that. */
function toNumber(digits: string): number {
  return digits.length > 15 ? Number.MAX_SAFE_INTEGER : Number(digits);
}
