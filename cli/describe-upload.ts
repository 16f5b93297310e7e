import type { ShownUpload } from '../client/shown-upload.ts';
import { printable } from './progress-board.ts';
import { formatBytes, formatDuration, formatRate } from './quantities.ts';

/** How far an upload is: `ready`, `42%`, or its state. */
export function describeState({ state, offset, size }: ShownUpload): string {
  if (state !== 'receiving') return state;
  return size === null || size === 0 ? 'receiving' : `${Math.floor((offset / size) * 100)}%`;
}

/** Everything about an upload, a line for each thing that is known. */
export function describeUpload(upload: ShownUpload, url: string): string {
  const { transfer } = upload;
  const rows: [string, string | null][] = [
    ['id', upload.id],
    ['address', url],
    [
      'state',
      upload.reason === null
        ? upload.state
        : `${upload.state}: ${upload.reason.message} (${upload.reason.code})`,
    ],
    ['size', upload.size === null ? 'not known yet' : `${formatBytes(upload.size)} (${upload.size} bytes)`],
    [
      'arrived',
      upload.offset === upload.size ? null : `${formatBytes(upload.offset)} (${upload.offset} bytes)`,
    ],
    ['name', upload.filename],
    ['type', upload.contentType],
    ['group', upload.group],
    ['sha256', upload.sha256],
    ['declared', upload.declaredSha256 === upload.sha256 ? null : upload.declaredSha256],
    ['created', formatTime(upload.createdAt)],
    ['complete', upload.receivedAt === null ? null : formatTime(upload.receivedAt)],
    ['expires', upload.expiresAt === null ? null : formatTime(upload.expiresAt)],
    [
      'transfer',
      [
        transfer.bytesPerSecond === null ? undefined : formatRate(transfer.bytesPerSecond),
        transfer.durationMs === null ? undefined : formatDuration(transfer.durationMs),
        count(transfer.requests, 'request'),
        transfer.resumes === 0 ? undefined : count(transfer.resumes, 'resume'),
      ]
        .filter((part) => part !== undefined)
        .join(', '),
    ],
  ];
  return rows
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name.padEnd(10)}${printable(value as string)}`)
    .join('\n');
}

/** `2026-11-21 10:15:42`, in the time zone of this machine. */
export function formatTime(iso: string): string {
  const date = new Date(iso);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Columns as wide as their widest cell; numbers to the right. */
export function table(rows: readonly (readonly string[])[], rightAligned: readonly number[] = []): string {
  const widths = (rows[0] ?? []).map((_unused, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] as number;
          return rightAligned.includes(column) ? cell.padStart(width) : cell.padEnd(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
