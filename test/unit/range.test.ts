import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRange } from '../../server/media/range.ts';

const none = { kind: 'none' };
const unsatisfiable = { kind: 'unsatisfiable' };
const ranges = (...pairs: [number, number][]) => ({
  kind: 'ranges',
  ranges: pairs.map(([start, end]) => ({ start, end })),
});

describe('parseRange', () => {
  it.each([
    ['bytes=0-499', ranges([0, 499])],
    ['bytes=500-999', ranges([500, 999])],
    ['bytes=-500', ranges([9500, 9999])],
    ['bytes=9500-', ranges([9500, 9999])],
    ['bytes=0-0,-1', ranges([0, 0], [9999, 9999])],
    // 14.1.2: a last position beyond the end means the end; so does a suffix longer than the whole.
    ['bytes=9990-20000', ranges([9990, 9999])],
    ['bytes=-20000', ranges([0, 9999])],
    ['BYTES=1-2', ranges([1, 2])],
    ['bytes=0001-0002', ranges([1, 2])],
    ['bytes=9999-9999', ranges([9999, 9999])],
  ])('reads %s', (header, expected) => {
    expect(parseRange(header, 10_000)).toEqual(expected);
  });

  it.each([
    [undefined],
    [''],
    ['bytes'],
    ['bytes='],
    ['bytes=,'],
    ['bytes=-'],
    ['bytes=5-4'],
    ['bytes=1 - 2'],
    ['bytes =1-2'],
    ['bytes=a-b'],
    ['bytes=1-2-3'],
    ['bytes=1-2;3-4'],
    ['bytes=--1'],
    ['bytes=+1-2'],
    ['bytes=0x1-2'],
    ['bytes=1.5-2'],
    ['bytes=\u00a01-2'],
    ['bytes=1-2, bytes=3-4'],
    ['items=0-4'],
    ['none'],
    // One invalid member spoils the set.
    ['bytes=0-1,x'],
    ['bytes=10000-,3-2'],
    ['bytes=99999999999999999999-99999999999999999998'],
  ])('ignores %j', (header) => {
    expect(parseRange(header, 10_000)).toEqual(none);
  });

  it('tells ranges that are all out of reach', () => {
    for (const header of ['bytes=10000-', 'bytes=10000-10001', 'bytes=-0', 'bytes=-000', 'bytes=10000-,-0']) {
      expect(parseRange(header, 10_000)).toEqual(unsatisfiable);
    }
  });

  it('leaves out the unreachable ones of several', () => {
    expect(parseRange('bytes=20000-,5-6,-0', 10_000)).toEqual(ranges([5, 6]));
  });

  it('takes numbers beyond 2^53', () => {
    const huge = '9'.repeat(5000);
    expect(parseRange(`bytes=5-${huge}`, 10)).toEqual(ranges([5, 9]));
    expect(parseRange(`bytes=-${huge}`, 10)).toEqual(ranges([0, 9]));
    expect(parseRange(`bytes=${huge}-`, 10)).toEqual(unsatisfiable);
    expect(parseRange(`bytes=18446744073709551616-18446744073709551617`, 10)).toEqual(unsatisfiable);
    expect(parseRange(`bytes=${'0'.repeat(400)}3-${'0'.repeat(500)}4`, 10)).toEqual(ranges([3, 4]));
    const fiveTebibytes = 5 * 2 ** 40;
    expect(parseRange('bytes=-1', fiveTebibytes)).toEqual(ranges([fiveTebibytes - 1, fiveTebibytes - 1]));
  });

  it('ignores every range of an empty original', () => {
    for (const header of ['bytes=0-', 'bytes=0-0', 'bytes=-1', 'bytes=-0']) {
      expect(parseRange(header, 0)).toEqual(none);
    }
  });

  it('keeps the order and merges what overlaps or touches into the first', () => {
    expect(parseRange('bytes=50-59,0-9', 100)).toEqual(ranges([50, 59], [0, 9]));
    expect(parseRange('bytes=50-59, 0-9 ,\t,55-70,10-19', 100)).toEqual(ranges([50, 70], [0, 19]));
    expect(parseRange('bytes=0-,-1,5-6', 100)).toEqual(ranges([0, 99]));
    // A late one can join two earlier ones.
    expect(parseRange('bytes=20-29,0-9,5-25', 100)).toEqual(ranges([0, 29]));
  });

  it('serves 100 ranges and ignores more', () => {
    const many = (count: number) =>
      `bytes=${Array.from({ length: count }, (_, index) => `${index * 2}-${index * 2}`).join(',')}`;
    const result = parseRange(many(100), 1000);
    expect(result.kind === 'ranges' && result.ranges.length).toBe(100);
    expect(parseRange(many(101), 1000)).toEqual(none);
    expect(parseRange(`bytes=${'0-,'.repeat(5000)}`, 1000)).toEqual(none);
  });

  it('agrees with slices of a buffer for 1,000 generated headers', () => {
    const spec = fc.oneof(
      fc.tuple(fc.nat(300), fc.nat(300)).map(([first, more]) => ({ first, last: first + more })),
      fc.nat(300).map((first) => ({ first, last: undefined })),
      fc.nat(300).map((last) => ({ first: undefined, last })),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 256 }),
        fc.array(spec, { minLength: 1, maxLength: 12 }),
        (size, specs) => {
          const original = Buffer.from(Array.from({ length: size }, (_, index) => index));
          const header = `bytes=${specs.map(({ first, last }) => `${first ?? ''}-${last ?? ''}`).join(', ')}`;
          // The reference: every spec by itself as a slice, and the set of all positions.
          const slices = specs.map(({ first, last }) => {
            if (first === undefined)
              return last === 0 ? original.subarray(0, 0) : original.subarray(-(last ?? 0));
            return original.subarray(first, last === undefined ? size : last + 1);
          });
          const wanted = new Set(slices.flatMap((slice) => [...slice]));

          const result = parseRange(header, size);
          if (wanted.size === 0) {
            expect(result).toEqual(unsatisfiable);
            return;
          }
          if (result.kind !== 'ranges') throw new Error(`${header} of ${size}: ${result.kind}`);
          const sent = result.ranges.flatMap(({ start, end }) => [...original.subarray(start, end + 1)]);
          // Every byte asked for, no other, and none twice.
          expect(new Set(sent)).toEqual(wanted);
          expect(sent.length).toBe(wanted.size);
          for (const { start, end } of result.ranges) {
            expect(start >= 0 && start <= end && end < size).toBe(true);
          }
          // The first range asked for is within the first one sent.
          const firstSlice = slices.find((slice) => slice.length > 0);
          const [firstSent] = result.ranges;
          expect(firstSent?.start).toBeLessThanOrEqual(firstSlice?.[0] ?? -1);
          expect(firstSent?.end).toBeGreaterThanOrEqual(firstSlice?.at(-1) ?? size);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('takes any text', () => {
    const text = fc.oneof(
      fc.string(),
      fc.stringMatching(/^bytes=[0-9,\- \t]*$/),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(text, fc.nat(), (header, size) => {
        const result = parseRange(header, size);
        if (result.kind !== 'ranges') return;
        for (const { start, end } of result.ranges)
          expect(start >= 0 && start <= end && end < size).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});
