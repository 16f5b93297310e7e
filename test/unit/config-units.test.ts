import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../server/config/units.ts';

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['100B', 100],
    ['8MiB', 8_388_608],
    ['8mib', 8_388_608],
    ['8 MiB', 8_388_608],
    ['8MB', 8_000_000],
    ['1kB', 1000],
    ['1KiB', 1024],
    ['1.5GiB', 1_610_612_736],
    ['1.1GB', 1_100_000_000],
    ['5TiB', 5_497_558_138_880],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each([
    ['8M', '"M" is not one of the units'],
    ['8K', '"K" is not one of the units'],
    ['8constructor', 'not one of the units'],
    ['1.5B', 'not a whole number'],
    ['0.0001KiB', 'not a whole number'],
    ['9007199254740992', 'more than 2^53-1'],
    ['9999999999TiB', 'more than 2^53-1'],
    ['', 'not a number'],
    ['-1', 'not a number'],
    ['+1', 'not a number'],
    ['1e3', 'not a number'],
    ['0x10', 'not a number'],
    ['1_000', 'not a number'],
    ['.5MiB', 'not a number'],
    ['5.MiB', 'not a number'],
    ['MiB', 'not a number'],
    ['٣MiB', 'not a number'],
    ['1  MiB', 'not a number'],
    ['1MiB\n', 'not a number'],
  ])('%j is refused: %s', (text, reason) => {
    expect(() => parseSize(text)).toThrow(RangeError);
    expect(() => parseSize(text)).toThrow(reason);
  });

  test('every number of bytes survives being written and read', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => {
        expect(parseSize(formatSize(bytes))).toBe(bytes);
        expect(parseSize(String(bytes))).toBe(bytes);
      }),
    );
  });

  test('round sizes are written with the unit they were meant in', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 999 }),
        fc.constantFrom('kB', 'MB', 'KiB', 'MiB', 'GiB', 'TiB'),
        (n, unit) => {
          expect(parseSize(formatSize(parseSize(`${n}${unit}`)))).toBe(parseSize(`${n}${unit}`));
        },
      ),
    );
    expect(formatSize(8 * 1024 * 1024)).toBe('8MiB');
    expect(formatSize(8_000_000)).toBe('8MB');
    expect(formatSize(1)).toBe('1B');
  });
});

describe('durations', () => {
  test.each([
    ['0', 0],
    ['0s', 0],
    ['500ms', 500],
    ['15s', 15_000],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
    ['7 D', 604_800_000],
  ])('%s is %d ms', (text, durationMs) => {
    expect(parseDuration(text)).toBe(durationMs);
  });

  test.each([
    ['15', 'the unit is missing'],
    ['15min', '"min" is not one of the units'],
    ['1y', '"y" is not one of the units'],
    ['1.5ms', 'not a whole number'],
    ['-5s', 'not a number'],
    ['1h30m', 'not a number'],
    ['', 'not a number'],
    ['s', 'not a number'],
  ])('%j is refused: %s', (text, reason) => {
    expect(() => parseDuration(text)).toThrow(RangeError);
    expect(() => parseDuration(text)).toThrow(reason);
  });

  test('every number of milliseconds survives being written and read', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (durationMs) => {
        expect(parseDuration(formatDuration(durationMs))).toBe(durationMs);
      }),
    );
  });
});

test('junk is refused by a RangeError or is a whole number, and nothing else', () => {
  const nearlyRight = fc
    .tuple(fc.string({ maxLength: 8 }), fc.constantFrom('', 'MiB', 'MB', 's', 'ms', 'h', 'B', '__proto__'))
    .map(([head, tail]) => head + tail);
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), nearlyRight), (text) => {
      for (const parse of [parseSize, parseDuration]) {
        let value: number;
        try {
          value = parse(text);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
          continue;
        }
        expect(Number.isSafeInteger(value) && value >= 0).toBe(true);
      }
    }),
    { numRuns: 1000 },
  );
});
