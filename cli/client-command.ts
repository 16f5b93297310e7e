import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { createConnectionPool } from '../client/http.ts';
import type { ConnectionOptions } from '../client/options.ts';
import { createForgetfulStore, createResumeStore, type ResumeStore } from '../client/resume-store.ts';
import { type Console, createConsole, describeError, errorJson } from './console.ts';
import { EXIT, exitCodeOf, UsageError } from './exit-codes.ts';
import { parseDuration } from './quantities.ts';

const DEFAULT_SERVER = 'http://127.0.0.1:1080';

/** Options that every command has which talks to a server. */
export interface ServerFlags {
  server: string;
  token?: string;
  basePath?: string;
  retryFor?: number;
  json?: boolean;
  quiet?: boolean;
}

/** What a command works with. */
export interface CommandContext {
  console: Console;
  connection: ConnectionOptions;
  store: ResumeStore;
  /** Aborted by SIGINT and SIGTERM. */
  signal: AbortSignal;
}

/** Adds the options that every command has which talks to a server. */
export function withServerOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--server <url>', 'the server, such as https://upload.example')
        .env('LANDFALL_URL')
        .default(DEFAULT_SERVER),
    )
    .addOption(new Option('--token <token>', 'sent as a bearer token').env('LANDFALL_TOKEN'))
    .option('--base-path <path>', 'where the server takes uploads (default: /files)')
    .option(
      '--retry-for <duration>',
      'how long to go on trying without any progress (default: 5m)',
      parsed(parseDuration),
    )
    .option('--json', 'print one JSON document instead of text')
    .option('-q, --quiet', 'print results and failures only');
}

/** A parser of ours as commander wants it: what it cannot read is a usage error. */
export function parsed<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? `${error.message}.` : '');
    }
  };
}

/** A whole number of a range, as commander wants it. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return parsed((text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new RangeError(`"${text}" is not a whole number from ${min} to ${max}`);
    return value;
  });
}

/**
 * Runs a command: sets what it works with, ends it on SIGINT and SIGTERM, and turns what it throws into words, JSON
 * and an exit code.
 *
 * @param run resolves with the exit code
 */
export async function runCommand(
  flags: ServerFlags,
  run: (context: CommandContext) => Promise<number>,
): Promise<void> {
  const console = createConsole({ isJson: flags.json === true, isQuiet: flags.quiet === true });
  const stop = new AbortController();
  let endedBy: NodeJS.Signals | undefined;
  const end = (signal: NodeJS.Signals) => {
    // The second one does not wait for anything.
    if (endedBy !== undefined) process.exit(exitCodeOfSignal(endedBy));
    endedBy = signal;
    stop.abort();
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  const pool = createConnectionPool();
  try {
    const exitCode = await run({
      console,
      signal: stop.signal,
      store: openResumeStore(console),
      connection: {
        // Empty is what compose files pass on for a variable that nobody set.
        server: flags.server || DEFAULT_SERVER,
        token: flags.token || undefined,
        ...(flags.basePath === undefined ? {} : { basePath: flags.basePath }),
        ...(flags.retryFor === undefined ? {} : { retryForMs: flags.retryFor }),
        signal: stop.signal,
        pool,
      },
    });
    process.exitCode = exitCode === EXIT.interrupted && endedBy ? exitCodeOfSignal(endedBy) : exitCode;
  } catch (error) {
    if (error instanceof UsageError) console.failure(`landfall: ${error.message}`);
    else console.failure(`landfall: ${describeError(error)}`);
    console.json({ error: errorJson(error) });
    process.exitCode = endedBy === undefined ? exitCodeOf(error) : exitCodeOfSignal(endedBy);
  } finally {
    pool.close();
    process.off('SIGINT', end);
    process.off('SIGTERM', end);
  }
}

function exitCodeOfSignal(signal: NodeJS.Signals): number {
  return signal === 'SIGTERM' ? EXIT.terminated : EXIT.interrupted;
}

/**
 * Where nothing can be written (a container's read-only home), nothing is remembered, and the rest works. Commands that
 * have nothing to remember leave no directory behind.
 */
function openResumeStore(console: Console): ResumeStore {
  const directory = stateDirectory(process.env);
  let opening: Promise<ResumeStore> | undefined;
  async function open(): Promise<ResumeStore> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await access(directory, constants.W_OK);
      return createResumeStore(directory);
    } catch (error) {
      console.note(
        `Unfinished uploads are not remembered: ${error instanceof Error ? error.message : error}`,
      );
      return createForgetfulStore();
    }
  }
  return {
    async claim(files, path) {
      opening ??= open();
      return (await opening).claim(files, path);
    },
    async list() {
      const store = await (opening ?? createResumeStore(directory));
      return store.list();
    },
  };
}

/** Where unfinished uploads are remembered (XDG Base Directory Specification: state that outlives a restart). */
export function stateDirectory(env: NodeJS.ProcessEnv): string {
  const home = env.XDG_STATE_HOME;
  // "All paths […] must be absolute. If […] a relative path in any of these variables […] ignore it."
  const base = home?.startsWith('/') === true ? home : join(homedir(), '.local', 'state');
  return join(base, 'landfall', 'uploads');
}
