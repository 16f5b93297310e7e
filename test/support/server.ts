import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
const START_TIMEOUT_MS = 20_000;
/** Half of the CPU of a start is compilation, and the fault tests start hundreds of servers. */
const COMPILE_CACHE = join(ROOT, 'node_modules/.cache/compile');

export interface RunningServer {
  /** `http://127.0.0.1:port` */
  origin: string;
  /** Where uploads are created. */
  filesUrl: string;
  pid: number;
  dataDir: string;
  /** Everything that it wrote so far. */
  output(): string;
  isRunning(): boolean;
  /** Sends a signal and resolves with the exit code (null: ended by the signal). */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Resident memory in bytes. */
  residentBytes(): Promise<number>;
}

export interface StartServerOptions {
  env?: Record<string, string>;
  /** Kept between starts; default: a new directory, removed by `stop` of the last user. */
  dataDir?: string;
  /** Default: one that the system picks. A restarted server needs its old port. */
  port?: number;
  /** Kills the program with SIGKILL while it starts; `startServer` then rejects. */
  signal?: AbortSignal;
  /** Program and arguments. Default: the sources, by the Node that runs the tests. */
  command?: readonly [string, ...string[]];
  /** Default: the project's directory. */
  cwd?: string;
}

/** Starts the real program, as `npm start` does, and waits until it says where it listens. */
export async function startServer(options: StartServerOptions = {}): Promise<RunningServer> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'landfall-data-')));
  const [program, ...args] = options.command ?? [process.execPath, 'server/main.ts'];
  const child = spawn(program, args, {
    cwd: options.cwd ?? ROOT,
    env: {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      LANDFALL_PORT: String(options.port ?? 0),
      LANDFALL_DATA_DIR: dataDir,
      LANDFALL_LOG_LEVEL: 'warn',
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const kill = () => void child.kill('SIGKILL');
  options.signal?.addEventListener('abort', kill, { once: true });
  const filesUrl = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`the server did not start:\n${output}`)),
      START_TIMEOUT_MS,
    );
    const read = (text: Buffer) => {
      output += text.toString();
      const address = /(?:takes tus|how it is) (?:uploads )?at +(\S+)/.exec(output)?.[1];
      const isWhole = output.includes('Try it') || output.includes('Says how it is');
      if (address !== undefined && isWhole) {
        clearTimeout(timer);
        resolve(address);
      }
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    void exited.then((code) => {
      clearTimeout(timer);
      reject(new Error(`the server ended with ${code}:\n${output}`));
    });
  }).finally(() => options.signal?.removeEventListener('abort', kill));
  return {
    origin: new URL(filesUrl).origin,
    filesUrl,
    pid: child.pid as number,
    dataDir,
    output: () => output,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      const code = await exited;
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
      return code;
    },
    residentBytes: () => residentBytes(child),
  };
}

async function residentBytes(child: ChildProcess): Promise<number> {
  const { readFile } = await import('node:fs/promises');
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
