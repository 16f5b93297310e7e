import { expect, test } from 'vitest';
import { checkGates } from '../../bench/gates.ts';
import type { Run } from '../../bench/measure.ts';
import { parseOptions } from '../../bench/options.ts';
import { formatRows } from '../../bench/report.ts';
import { median, summarize } from '../../bench/summary.ts';
import { peerVariant } from '../../bench/variants.ts';
import { createWorkloads, FULL, type Workload } from '../../bench/workloads.ts';

const patch = createWorkloads({ ...FULL, totalBytes: 1e9 }).find(({ name }) => name === 'patch') as Workload;

function run(variant: string, round: number, cpuSeconds: number, seconds: number): Run {
  return { workload: 'patch', variant, round, cpuSeconds, seconds, peakResidentBytes: 2 ** 20 };
}

test('medians', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([7])).toBe(7);
});

test('ratios are those within a round, whatever the rounds were like', () => {
  const runs = [
    // The second round was disturbed: everything took five times as long.
    ...[run('raw', 1, 1, 1), run('stock', 1, 4, 3), run('landfall', 1, 0.5, 1)],
    ...[run('raw', 2, 5, 5), run('stock', 2, 20, 15), run('landfall', 2, 2.5, 5)],
    ...[run('raw', 3, 1, 1), run('stock', 3, 4, 3), run('landfall', 3, 0.5, 1)],
  ];
  const [raw, stock, landfall] = summarize(patch, runs);
  expect(raw).toMatchObject({ variant: 'raw', cost: 1, costToRaw: 1, rate: 1000 });
  expect(stock).toMatchObject({ costToRaw: 4, costToStock: 1 });
  expect(landfall).toMatchObject({ costToRaw: 0.5, costToStock: 0.125, rateToStock: 3, cost: 0.5 });
  expect(formatRows(patch, [landfall as NonNullable<typeof landfall>])).toContain('| landfall ');
});

test('gates are those of the workloads that were run', () => {
  const rows = summarize(patch, [
    run('raw', 1, 1, 1),
    run('stock', 1, 3, 3),
    run('landfall', 1, 0.9, 1),
    run('landfall+sha256', 1, 1.6, 1),
  ]);
  expect(checkGates(rows).map(({ what, isMet }) => [what, isMet])).toEqual([
    ['PATCH: CPU to the raw pipe', false],
    ['PATCH: CPU to stock', true],
    ['PATCH: MB/s to stock', true],
    ['PATCH: CPU-s/GB that SHA-256 adds', false],
  ]);
});

test('a peer is a name and a command with places for port and directory', () => {
  const { name, command, isPreloaded } = peerVariant('tusd=tusd -port {port} -upload-dir={dir}/x');
  expect([name, isPreloaded]).toEqual(['tusd', false]);
  expect(command(1234, '/d')).toEqual({ file: 'tusd', args: ['-port', '1234', '-upload-dir=/d/x'], env: {} });
  expect(() => peerVariant('tusd')).toThrow('name=COMMAND');
  expect(() => peerVariant('tusd=tusd -port 1080')).toThrow('{port}');
});

test('options', () => {
  expect(parseOptions([])).toMatchObject({ isQuick: false, rounds: 5, only: [], peers: [] });
  expect(parseOptions(['--quick'])).toMatchObject({ isQuick: true, rounds: 3 });
  expect(parseOptions(['--only', 'patch,small', '--rounds', '2'])).toMatchObject({
    only: ['patch', 'small'],
    rounds: 2,
  });
  expect(() => parseOptions(['--rounds', '0'])).toThrow('--rounds');
  expect(() => parseOptions(['--only', 'ptch'])).toThrow('ptch');
  expect(() => parseOptions(['--fast'])).toThrow();
});
