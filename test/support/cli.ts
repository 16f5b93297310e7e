import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
const COMPILE_CACHE = join(ROOT, 'node_modules/.cache/compile');

export interface CliResult {
  /** Null: ended by a signal. */
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunningCli {
  child: ChildProcess;
  done: Promise<CliResult>;
  /** What it has written so far. */
  stdout(): string;
  stderr(): string;
}

/** A place of its own for the command line: working directory and remembered uploads. */
export interface CliHome {
  directory: string;
  stateDir: string;
  /** Starts the real program. `input` goes to its standard input, which stays open for a function. */
  start(args: readonly string[], options?: { input?: Buffer | undefined; holdInput?: boolean }): RunningCli;
  run(args: readonly string[], input?: Buffer): Promise<CliResult>;
  /** With `--json`: the exit code, and what it printed. */
  json<T>(args: readonly string[], input?: Buffer): Promise<{ code: number | null; value: T }>;
  remove(): Promise<void>;
}

/** `program`: by default the sources. */
export async function createCliHome(
  env: Record<string, string> = {},
  program = join(ROOT, 'cli/main.ts'),
): Promise<CliHome> {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-cli-'));
  const stateHome = join(directory, '.state');
  const home: CliHome = {
    directory,
    stateDir: join(stateHome, 'landfall', 'uploads'),
    start(args, { input, holdInput = false } = {}) {
      const child = spawn(process.execPath, [program, ...args], {
        cwd: directory,
        env: {
          PATH: process.env.PATH,
          NODE_COMPILE_CACHE: COMPILE_CACHE,
          LANG: 'C.UTF-8',
          XDG_STATE_HOME: stateHome,
          ...env,
        },
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (text: Buffer) => {
        stdout += text.toString();
      });
      child.stderr.on('data', (text: Buffer) => {
        stderr += text.toString();
      });
      child.stdin.on('error', () => {}); // it ended before it had read all
      if (input !== undefined) child.stdin.write(input);
      if (!holdInput) child.stdin.end();
      const done = new Promise<CliResult>((resolve) =>
        child.once('close', (code) => resolve({ code, stdout, stderr })),
      );
      return { child, done, stdout: () => stdout, stderr: () => stderr };
    },
    run: (args, input) => home.start(args, { input }).done,
    async json<T>(args: readonly string[], input?: Buffer) {
      const { code, stdout, stderr } = await home.run([...args, '--json'], input);
      if (stdout.trim() === '') throw new Error(`nothing was printed (exit code ${code}): ${stderr}`);
      return { code, value: JSON.parse(stdout) as T };
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
  return home;
}

/** What `upload --json` and `resume --json` print. */
export interface UploadReport {
  uploads: {
    file: string;
    ok: boolean;
    id: string;
    url: string;
    size: number;
    sha256: string | null;
    resumedBytes: number;
    sentBytes: number;
    isResumable?: boolean;
    error?: { code: string; status: number | null; serverCode: string | null; exitCode: number };
  }[];
  exitCode: number;
}
