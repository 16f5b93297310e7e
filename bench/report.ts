import type { Gate } from './gates.ts';
import type { Row } from './summary.ts';
import type { Workload } from './workloads.ts';

/** A Markdown table per workload: it reads as well in a terminal as in a page. */
export function formatRows(workload: Workload, rows: Row[]): string {
  const isBytes = workload.unit === 'bytes';
  const header = [
    workload.title,
    isBytes ? 'CPU-s/GB' : 'CPU µs/upload',
    isBytes ? 'MB/s' : 'uploads/s',
    'CPU to raw',
    'CPU to stock',
    'peak RSS MiB',
  ];
  const lines = rows.map((row) => [
    row.variant,
    row.cost.toFixed(isBytes ? 2 : 0),
    row.rate.toFixed(0),
    ratio(row.costToRaw),
    ratio(row.costToStock),
    (row.peakResidentBytes / 1024 ** 2).toFixed(0),
  ]);
  return formatTable(header, lines);
}

export function formatGates(gates: Gate[]): string {
  const lines = gates.map((gate) => [
    gate.what,
    `${gate.isMinimum ? '>=' : '<='} ${gate.limit}`,
    gate.actual.toFixed(2),
    gate.isMet ? 'ok' : 'missed',
  ]);
  return formatTable(['gate', 'limit', 'reached', ''], lines);
}

function ratio(value: number | undefined): string {
  return value === undefined ? '-' : `${value.toFixed(2)}x`;
}

/** A Markdown table whose first column is text and whose others are numbers. */
export function formatTable(header: string[], lines: string[][]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)),
  );
  const format = (cells: string[]) =>
    `| ${cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join(' | ')} |`;
  const rule = `|${widths.map((width, column) => `${'-'.repeat(width + 1)}${column === 0 ? '-' : ':'}`).join('|')}|`;
  return [format(header), rule, ...lines.map(format)].join('\n');
}
