import { describe, expect, test } from 'vitest';
import { createDirectReports, parseDirectReport } from '../../server/uploads/direct-reports.ts';

const report = { outcome: 'done', bytes: 150_000_000, durationMs: 12_000, retries: 2 };

describe('a report of a direct upload', () => {
  test('is taken as it is', () => {
    expect(parseDirectReport({ ...report, more: 'is ignored' })).toEqual(report);
  });

  test.each([
    undefined,
    null,
    'done',
    [],
    {},
    { ...report, outcome: 'perfect' },
    { ...report, outcome: '__proto__' },
    { ...report, bytes: -1 },
    { ...report, bytes: 0.5 },
    { ...report, bytes: '5' },
    { ...report, bytes: 6e13 },
    { ...report, durationMs: Number.POSITIVE_INFINITY },
    { ...report, durationMs: 3e9 },
    { ...report, retries: 1_000_001 },
    { ...report, retries: undefined },
  ])('is refused when it cannot be true: %j', (body) => {
    expect(() => parseDirectReport(body)).toThrow(
      expect.objectContaining({ code: 'invalid_request', status: 400 }),
    );
  });

  test('adds to the totals', () => {
    const reports = createDirectReports();
    reports.add(parseDirectReport(report));
    const before = reports.totals();
    reports.add(parseDirectReport({ outcome: 'fell_back', bytes: 1, durationMs: 1, retries: 0 }));
    expect(before.byOutcome).toEqual({ done: 1, failed: 0, fell_back: 0 });
    expect(reports.totals()).toEqual({
      byOutcome: { done: 1, failed: 0, fell_back: 1 },
      bytes: 150_000_001,
      durationMs: 12_001,
      retries: 2,
    });
  });
});
