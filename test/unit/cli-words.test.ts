import { describe, expect, test } from 'vitest';
import { EXIT, exitCodeOf, exitCodeOfAll, UsageError } from '../../cli/exit-codes.ts';
import { addMetadata, mediaTypeOf } from '../../cli/metadata.ts';
import { describeProgress, printable } from '../../cli/progress-board.ts';
import { formatBytes, formatDuration, parseDuration, parseRate, parseSize } from '../../cli/quantities.ts';
import { shellWord } from '../../cli/shell-word.ts';
import { ClientError } from '../../client/errors.ts';

describe('sizes, rates and durations', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['8MiB', 8 * 1024 ** 2],
    ['100MB', 100_000_000],
    ['100 mb', 100_000_000],
    ['1.5GB', 1_500_000_000],
    ['2gib', 2 * 1024 ** 3],
  ])('%s is %d bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each(['', '8M', '-1', '1e3', 'MB', '1,5GB', '99999PB'])('"%s" is no size', (text) =>
    expect(() => parseSize(text)).toThrow(RangeError),
  );

  test.each([
    ['5MB/s', 5_000_000],
    ['500 kB/s', 500_000],
    ['1MiB/sec', 1024 ** 2],
    ['100', 100],
  ])('%s is %d bytes per second', (text, rate) => expect(parseRate(text)).toBe(rate));

  test.each(['0', '5MB/m', 'fast'])('"%s" is no rate', (text) =>
    expect(() => parseRate(text)).toThrow(RangeError),
  );

  test.each([
    ['0', 0],
    ['500ms', 500],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
  ])('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms));

  test.each(['5', '-1s', 's'])('"%s" is no duration', (text) =>
    expect(() => parseDuration(text)).toThrow(RangeError),
  );

  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [9_994, '9.99 kB'],
    [9_996, '10.0 kB'],
    [99_960, '100 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [1_234_567, '1.23 MB'],
    [2_000_000_000, '2.00 GB'],
  ])('%d bytes are shown as %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test.each([
    [0, '0.0 s'],
    [9_940, '9.9 s'],
    [59_400, '59 s'],
    [75_000, '1:15'],
    [3_725_000, '1:02:05'],
  ])('%d ms are shown as %s', (ms, text) => expect(formatDuration(ms)).toBe(text));

  test('a progress in words', () => {
    const progress = { bytes: 999, totalBytes: 1000, bytesPerSecond: 10, remainingMs: 100 };
    expect(describeProgress(progress)).toBe('99%, 999 B of 1.00 kB, 10 B/s, 0.1 s left');
    expect(describeProgress({ ...progress, totalBytes: undefined, remainingMs: undefined })).toBe(
      '999 B, 10 B/s',
    );
  });
});

describe('--metadata', () => {
  test('adds up, later ones win, and values may have anything in them', () => {
    expect(addMetadata('b=', addMetadata('a=1=2'))).toEqual({ a: '1=2', b: '' });
    expect(addMetadata('a=ü ,', { a: '1' })).toEqual({ a: 'ü ,' });
  });

  test.each(['a', '=b', 'a b=c', 'a,b=c', 'ü=c'])('%s is none', (text) =>
    expect(() => addMetadata(text)).toThrow(RangeError),
  );

  test('types by extension, whatever its case', () => {
    expect([
      mediaTypeOf('A.MOV'),
      mediaTypeOf('x.tar.gz'),
      mediaTypeOf('Makefile'),
      mediaTypeOf('a.constructor'),
    ]).toEqual(['video/quicktime', 'application/gzip', undefined, undefined]);
  });
});

test('words for a shell', () => {
  expect(['a.txt', 'a b', "it's", '-x', ''].map(shellWord)).toEqual([
    'a.txt',
    "'a b'",
    "'it'\\''s'",
    './-x',
    "''",
  ]);
});

test('names of others move no cursor and turn no text around', () => {
  expect(printable('a\u001b[2J\r\nb\u202ec\u009b1m')).toBe('a?[2J??b?c?1m');
});

describe('exit codes', () => {
  test.each([
    [new UsageError('x'), EXIT.usage],
    [new RangeError('x'), EXIT.usage],
    [new Error('x'), EXIT.failed],
    [new ClientError('network', 'x'), EXIT.unreachable],
    [new ClientError('refused', 'x', { status: 503 }), EXIT.unreachable],
    [new ClientError('refused', 'x', { status: 413 }), EXIT.failed],
    [new ClientError('rejected', 'x', { status: 460 }), EXIT.corrupt],
    [new ClientError('digest_mismatch', 'x'), EXIT.corrupt],
    [new ClientError('upload_gone', 'x', { status: 404 }), EXIT.notFound],
    [new ClientError('aborted', 'x'), EXIT.interrupted],
  ])('%o is %d', (error, code) => expect(exitCodeOf(error)).toBe(code));

  test.each([
    [[], 0],
    [[0, 0], 0],
    [[0, 4], 3],
    [[4, 4], 4],
    [[4, 1], 1],
    [[0, 4, 130], 130],
  ])('of several: %j is %d', (codes, code) => expect(exitCodeOfAll(codes)).toBe(code));
});
