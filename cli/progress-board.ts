import type { TransferProgress } from '../client/progress.ts';
import { formatBytes, formatDuration, formatRate } from './quantities.ts';

/** One running transfer on the board. */
export interface BoardLine {
  update(progress: TransferProgress): void;
  /** Shown instead of speed and time until the next byte moves. */
  note(text: string): void;
  remove(): void;
}

/** Where running transfers are shown. */
export interface ProgressBoard {
  add(label: string): BoardLine;
  /** Lines that stay, above those that run. */
  print(stream: NodeJS.WritableStream, text: string): void;
}

interface Shown {
  label: string;
  progress: TransferProgress | undefined;
  note: string | undefined;
}

const REDRAW_MS = 100;
const BAR_WIDTH = 24;
const MAX_LABEL = 32;
/** Of more than fit on the screen the first ones are shown. */
const MAX_LINES = 10;
const PLAIN_EVERY_MS = 10_000;
/** Characters that take two columns. */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** Shows nothing that passes. */
export function createSilentBoard(): ProgressBoard {
  return {
    add: () => ({ update() {}, note() {}, remove() {} }),
    print: (stream, text) => void stream.write(text),
  };
}

/** Bars that are drawn over again in place. */
export function createLiveBoard(
  screen: NodeJS.WriteStream,
  look: { hasColor: boolean; hasUnicode: boolean },
): ProgressBoard {
  const lines = new Set<Shown>();
  let drawn = 0;
  let timer: NodeJS.Timeout | undefined;

  const clear = () => {
    // From the first column: a terminal that echoes ^C has moved the cursor.
    if (drawn > 0) screen.write(`\r\u001b[${drawn}A\u001b[J`);
    drawn = 0;
  };
  const draw = () => {
    const width = screen.columns || 80;
    const visible = [...lines].slice(0, Math.max(1, Math.min(MAX_LINES, (screen.rows || 24) - 2)));
    const text = visible.map((line) => fitLine(renderBar(line, look), width));
    if (lines.size > visible.length) text.push(`  and ${lines.size - visible.length} more`);
    // One write for all of it: no flicker.
    const up = drawn > 0 ? `\u001b[${drawn}A` : '';
    screen.write(`${up}${text.map((line) => `\r\u001b[K${line}\n`).join('')}\u001b[J`);
    drawn = text.length;
  };
  const change = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      if (lines.size > 0) draw();
    }, REDRAW_MS);
    timer.unref();
  };

  return {
    add(label) {
      const shown: Shown = { label, progress: undefined, note: undefined };
      lines.add(shown);
      change();
      return {
        update(progress) {
          if (shown.progress?.bytes !== progress.bytes) shown.note = undefined;
          shown.progress = progress;
          change();
        },
        note(text) {
          shown.note = text;
          change();
        },
        remove() {
          lines.delete(shown);
          clear();
          if (lines.size > 0) draw();
        },
      };
    },
    print(stream, text) {
      clear();
      stream.write(text);
      if (lines.size > 0) draw();
    },
  };
}

/** A line now and then, for logs: at every tenth, and every ten seconds. */
export function createPlainBoard(stream: NodeJS.WritableStream): ProgressBoard {
  return {
    add(label) {
      let toldAtMs = performance.now();
      let toldTenths = 0;
      const tell = (text: string) => {
        toldAtMs = performance.now();
        stream.write(`${label}: ${text}\n`);
      };
      return {
        update(progress) {
          const { bytes, totalBytes } = progress;
          const tenths =
            totalBytes === undefined || totalBytes === 0 ? 0 : Math.floor((bytes / totalBytes) * 10);
          const isLate = performance.now() - toldAtMs >= PLAIN_EVERY_MS;
          const isNext = tenths > toldTenths && tenths < 10 && performance.now() - toldAtMs >= 1000;
          if (!isLate && !isNext) return;
          toldTenths = tenths;
          tell(describeProgress(progress));
        },
        note: tell,
        remove() {},
      };
    },
    print: (target, text) => void target.write(text),
  };
}

/** `42%, 1.2 GB of 2.9 GB, 35.1 MB/s, 0:48 left` */
export function describeProgress({
  bytes,
  totalBytes,
  bytesPerSecond,
  remainingMs,
}: TransferProgress): string {
  const parts = [
    totalBytes === undefined ? undefined : `${percent(bytes, totalBytes)}%`,
    totalBytes === undefined ? formatBytes(bytes) : `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`,
    formatRate(bytesPerSecond),
    remainingMs === undefined ? undefined : `${formatDuration(remainingMs)} left`,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

function renderBar(
  { label, progress, note }: Shown,
  { hasColor, hasUnicode }: { hasColor: boolean; hasUnicode: boolean },
): string {
  const name = shorten(label, MAX_LABEL).padEnd(MAX_LABEL);
  if (progress === undefined) return `  ${name} ${note ?? 'starting'}`;
  const { bytes, totalBytes, bytesPerSecond, remainingMs } = progress;
  const time = remainingMs === undefined ? '' : formatDuration(remainingMs);
  const speed = `${formatRate(bytesPerSecond).padStart(9)}  ${time}`;
  if (totalBytes === undefined) return `  ${name} ${formatBytes(bytes).padStart(8)}  ${note ?? speed}`;
  const share = totalBytes === 0 ? 1 : Math.min(1, bytes / totalBytes);
  const full = Math.floor(share * BAR_WIDTH);
  const done = (hasUnicode ? '━' : '#').repeat(full);
  const open = (hasUnicode ? '─' : '-').repeat(BAR_WIDTH - full);
  const bar = hasColor ? `\u001b[36m${done}\u001b[39m\u001b[2m${open}\u001b[22m` : done + open;
  const counts = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`.padEnd(18);
  return `  ${name} ${bar} ${String(percent(bytes, totalBytes)).padStart(3)}%  ${note ?? `${counts} ${speed}`}`;
}

/** Rounded down: 100 is said when it is all there, and not before. */
function percent(bytes: number, totalBytes: number): number {
  return totalBytes === 0 ? 100 : Math.min(100, Math.floor((bytes / totalBytes) * 100));
}

/** The end of a name says more than its middle. */
function shorten(text: string, length: number): string {
  const clean = printable(text);
  if (clean.length <= length) return clean;
  const tail = Math.floor((length - 1) / 2);
  return `${clean.slice(0, length - 1 - tail)}…${clean.slice(-tail)}`;
}

/** A line that wraps could not be drawn over: what does not fit is cut, its colours ended. */
function fitLine(line: string, width: number): string {
  let visible = 0;
  let result = '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape sequences of renderBar take no room
  for (const [piece] of line.matchAll(/\u001b\[[0-9;]*m|./gu)) {
    if (piece.startsWith('\u001b')) result += piece;
    else {
      visible += WIDE.test(piece) ? 2 : 1;
      if (visible < width) result += piece;
    }
  }
  return result;
}

/** Text that others chose (a file's name), without anything that moves the cursor. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not reach the terminal
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?');
}
