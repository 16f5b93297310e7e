import { ClientError } from '../client/errors.ts';
import type { RetryNotice } from '../client/retry.ts';
import { exitCodeOf } from './exit-codes.ts';
import {
  createLiveBoard,
  createPlainBoard,
  createSilentBoard,
  type ProgressBoard,
  printable,
} from './progress-board.ts';
import { formatDuration } from './quantities.ts';

/** How a command talks: results to stdout, everything that passes to stderr. */
export interface Console {
  readonly isJson: boolean;
  readonly board: ProgressBoard;
  /** A result, for people. */
  line(text: string): void;
  /** Something worth knowing, for people. */
  note(text: string): void;
  /** A failure, for people. */
  failure(text: string): void;
  /** A result, for programs: one document on one line, or laid out. */
  json(value: unknown): void;
  paint(style: 'bold' | 'dim' | 'green' | 'red', text: string): string;
  readonly marks: { done: string; failed: string };
}

const STYLES = { bold: [1, 22], dim: [2, 22], green: [32, 39], red: [31, 39] } as const;

/** @param options `isQuiet`: results and failures only */
export function createConsole(options: { isJson: boolean; isQuiet?: boolean }): Console {
  const { isJson, isQuiet = false } = options;
  const { stdout, stderr, env } = process;
  const hasUnicode =
    /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || '') || process.platform === 'win32';
  const isLive = stderr.isTTY === true && env.TERM !== 'dumb';
  const hasColor = isLive && (env.NO_COLOR ?? '') === '';
  const paint: Console['paint'] = (style, text) => {
    const [on, off] = STYLES[style];
    return hasColor && stdout.isTTY === true ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  };
  const board =
    isJson || isQuiet
      ? createSilentBoard()
      : isLive
        ? createLiveBoard(stderr, { hasColor, hasUnicode })
        : createPlainBoard(stderr);
  return {
    isJson,
    board,
    line: (text) => isJson || board.print(stdout, `${text}\n`),
    note: (text) => isJson || isQuiet || board.print(stderr, `${text}\n`),
    failure: (text) => isJson || board.print(stderr, `${text}\n`),
    json: (value) =>
      void (isJson && stdout.write(`${JSON.stringify(value, undefined, stdout.isTTY ? 2 : 0)}\n`)),
    paint,
    marks: hasUnicode ? { done: '✓', failed: '✗' } : { done: 'ok', failed: 'failed' },
  };
}

/** A failure in words: what was tried, why it failed, and the server's own code for it. */
export function describeError(error: unknown): string {
  const message = printable(error instanceof Error ? error.message : String(error));
  return error instanceof ClientError && error.serverCode !== undefined
    ? `${message} (${printable(error.serverCode)})`
    : message;
}

/** A failure as `--json` has it. */
export function errorJson(error: unknown): Record<string, unknown> {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof ClientError)) return { code: 'failed', message, exitCode: exitCodeOf(error) };
  const { code, status, serverCode } = error;
  return {
    code,
    message,
    status: status ?? null,
    serverCode: serverCode ?? null,
    exitCode: exitCodeOf(error),
  };
}

/** What is said of a wait before the next try: when it is first, since a bar leaves little room. */
export function describeRetry({ error, delayMs }: RetryNotice): string {
  return `again in ${formatDuration(delayMs)}: ${describeError(error)}`;
}
