import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ConditionalHeaders,
  evaluatePreconditions,
  isRangeCurrent,
} from '../../server/media/conditional.ts';
import { parseHttpDate } from '../../server/media/http-date.ts';

const MODIFIED = 'Sun, 06 Nov 1994 08:49:37 GMT';
const EARLIER = 'Sun, 06 Nov 1994 08:49:36 GMT';
const LATER = 'Sun, 06 Nov 1994 08:49:38 GMT';
/** With a fraction of a second, which Last-Modified cannot say. */
const current = { etag: 'v1', modifiedAtMs: Date.UTC(1994, 10, 6, 8, 49, 37) + 789 };
const NOW_MS = Date.UTC(2026, 0, 1);

const evaluate = (headers: ConditionalHeaders) => evaluatePreconditions(headers, current, NOW_MS);

describe('evaluatePreconditions', () => {
  it('proceeds without conditions', () => {
    expect(evaluate({})).toBe('proceed');
  });

  it.each([
    ['"v1"', 'proceed'],
    ['*', 'proceed'],
    [' * ', 'proceed'],
    ['"v0", "v1"', 'proceed'],
    ['"a,b" ,, "v1",', 'proceed'],
    ['"v0"', 'failed'],
    // 13.1.1: strong comparison, a weak tag never matches.
    ['W/"v1"', 'failed'],
    ['w/"v1"', 'failed'],
    ['v1', 'failed'],
    ['"v1" "v1"', 'failed'],
    ['"v1", *', 'failed'],
    ['"v1', 'failed'],
    ['', 'failed'],
  ])('If-Match: %s -> %s', (value, expected) => {
    expect(evaluate({ 'if-match': value })).toBe(expected);
  });

  it.each([
    [EARLIER, 'failed'],
    [MODIFIED, 'proceed'],
    [LATER, 'proceed'],
    ['yesterday', 'proceed'],
    ['', 'proceed'],
  ])('If-Unmodified-Since: %s -> %s', (value, expected) => {
    expect(evaluate({ 'if-unmodified-since': value })).toBe(expected);
  });

  it.each([
    ['"v1"', 'not_modified'],
    // 13.1.2: weak comparison.
    ['W/"v1"', 'not_modified'],
    ['*', 'not_modified'],
    ['"x", W/"y", "v1"', 'not_modified'],
    ['"v0"', 'proceed'],
    ['"V1"', 'proceed'],
    ['v1', 'proceed'],
    ['"v1", junk', 'proceed'],
    ['', 'proceed'],
  ])('If-None-Match: %s -> %s', (value, expected) => {
    expect(evaluate({ 'if-none-match': value })).toBe(expected);
  });

  it.each([
    [EARLIER, 'proceed'],
    [MODIFIED, 'not_modified'],
    [LATER, 'not_modified'],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 'not_modified'],
    ['Sun Nov  6 08:49:37 1994', 'not_modified'],
    [`${MODIFIED}, ${MODIFIED}`, 'proceed'],
    ['0', 'proceed'],
  ])('If-Modified-Since: %s -> %s', (value, expected) => {
    expect(evaluate({ 'if-modified-since': value })).toBe(expected);
  });

  it('keeps the order of 13.2.2', () => {
    // If-Match hides If-Unmodified-Since.
    expect(evaluate({ 'if-match': '"v1"', 'if-unmodified-since': EARLIER })).toBe('proceed');
    // If-None-Match hides If-Modified-Since.
    expect(evaluate({ 'if-none-match': '"v0"', 'if-modified-since': LATER })).toBe('proceed');
    // A failed If-Match is 412 even where If-None-Match would be 304.
    expect(evaluate({ 'if-match': '"v0"', 'if-none-match': '"v1"' })).toBe('failed');
    expect(evaluate({ 'if-match': '"v1"', 'if-none-match': '"v1"' })).toBe('not_modified');
    expect(evaluate({ 'if-unmodified-since': LATER, 'if-modified-since': LATER })).toBe('not_modified');
    expect(evaluate({ 'if-unmodified-since': EARLIER, 'if-none-match': '"v1"' })).toBe('failed');
  });

  it('reads any header in linear time, and never throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        evaluate({ 'if-match': value, 'if-none-match': value });
        evaluate({ 'if-unmodified-since': value, 'if-modified-since': value });
        isRangeCurrent(value, current, NOW_MS);
      }),
    );
    const startedAt = performance.now();
    evaluate({ 'if-none-match': `${'"a" '.repeat(20_000)}` });
    evaluate({ 'if-none-match': `"a"${' \t'.repeat(50_000)}x` });
    evaluate({ 'if-none-match': `${','.repeat(100_000)}x` });
    expect(performance.now() - startedAt).toBeLessThan(1000);
  });

  it('finds the tag in any list', () => {
    const tag = fc
      .stringMatching(/^[!#-~]{0,12}$/)
      .chain((opaque) => fc.boolean().map((isWeak) => ({ opaque, isWeak })));
    fc.assert(
      fc.property(fc.array(tag, { maxLength: 8 }), (tags) => {
        const header = tags.map(({ opaque, isWeak }) => `${isWeak ? 'W/' : ''}"${opaque}"`).join(' ,\t');
        expect(evaluate({ 'if-none-match': header })).toBe(
          tags.some(({ opaque }) => opaque === 'v1') ? 'not_modified' : 'proceed',
        );
        expect(evaluate({ 'if-none-match': header === '' ? '"v1"' : `${header}, "v1"` })).toBe(
          'not_modified',
        );
        expect(evaluate({ 'if-match': header })).toBe(
          tags.some(({ opaque, isWeak }) => opaque === 'v1' && !isWeak) ? 'proceed' : 'failed',
        );
      }),
    );
  });
});

describe('isRangeCurrent', () => {
  it.each([
    [undefined, true],
    ['"v1"', true],
    [MODIFIED, true],
    ['Sunday, 06-Nov-94 08:49:37 GMT', true],
    // 13.1.5: strong comparison; a date must match exactly; no list, no star.
    ['W/"v1"', false],
    ['"v0"', false],
    [EARLIER, false],
    [LATER, false],
    ['*', false],
    ['"v1", "v2"', false],
    ['v1', false],
    ['', false],
    [['"v1"', '"v1"'], false],
  ])('If-Range: %j -> %s', (value, expected) => {
    expect(isRangeCurrent(value, current, NOW_MS)).toBe(expected);
  });
});

describe('parseHttpDate', () => {
  const instant = Date.UTC(1994, 10, 6, 8, 49, 37);

  it.each([
    ['Sun, 06 Nov 1994 08:49:37 GMT', instant],
    ['Sunday, 06-Nov-94 08:49:37 GMT', instant],
    ['Sun Nov  6 08:49:37 1994', instant],
    ['Sun Nov 06 08:49:37 1994', instant],
    ['Thu, 29 Feb 2024 00:00:00 GMT', Date.UTC(2024, 1, 29)],
    ['Sat, 31 Dec 2016 23:59:60 GMT', Date.UTC(2017, 0, 1)],
    // More than 50 years ahead of 2026: the past century.
    ['Friday, 01-Jan-77 00:00:00 GMT', Date.UTC(1977, 0, 1)],
    ['Wednesday, 01-Jan-76 00:00:00 GMT', Date.UTC(2076, 0, 1)],
  ])('reads %s', (text, expected) => {
    expect(parseHttpDate(text, NOW_MS)).toBe(expected);
  });

  it.each([
    [''],
    ['sun, 06 nov 1994 08:49:37 gmt'],
    ['Sun, 6 Nov 1994 08:49:37 GMT'],
    ['Sun, 06 Nov 1994 08:49:37 UTC'],
    ['Sun, 06 Nov 1994 08:49:37 +0000'],
    ['Sun, 31 Feb 1994 08:49:37 GMT'],
    ['Sun, 00 Nov 1994 08:49:37 GMT'],
    ['Sun, 06 Nov 1994 24:00:00 GMT'],
    ['Sun, 06 Nov 1994 08:60:00 GMT'],
    ['Sun, 06 Nov 1994 08:49:61 GMT'],
    ['1994-11-06T08:49:37Z'],
    ['784111777'],
  ])('does not take %j', (text) => {
    expect(parseHttpDate(text, NOW_MS)).toBeUndefined();
  });

  it('reads every date that we write', () => {
    const date = fc.date({
      min: new Date(Date.UTC(0, 0, 1)),
      max: new Date(Date.UTC(9999, 11, 31)),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(date, (value) => {
        expect(parseHttpDate(value.toUTCString(), NOW_MS)).toBe(Math.floor(value.getTime() / 1000) * 1000);
      }),
    );
  });
});
