import { type ChildProcess, spawn } from 'node:child_process';
import { residentBytes } from './host/process-memory.ts';
import { ProcessorError } from './types.ts';

export interface RunOptions {
  /** Where it runs, and has its temporary files. */
  cwd: string;
  timeoutMs: number;
  /** Resident bytes of us and the program; looked at a few times a second, where the system has /proc. */
  memoryBytes: number;
  /** What it may write to its standard output. */
  maxOutputBytes: number;
  signal: AbortSignal;
}

export interface ProcessResult {
  exitCode: number;
  stdout: Buffer;
  /** Its end. */
  stderr: string;
}

const MEMORY_CHECK_MS = 200;
/** The whole process is ended at the limit, with all that is done already: the program has to be ended before. */
const MEMORY_SHARE = 0.9;
const KEPT_ERROR_BYTES = 4096;

/**
 * Runs a program to its end, without a shell, without standard input, and without our environment (which has
 * secrets). It stays in our process group: who ends that one, ends it too.
 *
 * @throws ProcessorError tool_missing, timeout, out_of_memory, too_large (its output), crashed (by a signal); the
 *   signal's reason
 */
export async function runProcess(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<ProcessResult> {
  options.signal.throwIfAborted();
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { PATH: process.env.PATH, LC_ALL: 'C', TMPDIR: options.cwd },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let killedFor: unknown;
  const kill = (reason: unknown) => {
    killedFor ??= reason;
    child.kill('SIGKILL');
  };
  const onAbort = () => kill(options.signal.reason);
  options.signal.addEventListener('abort', onAbort);
  const timer = setTimeout(() => kill(timedOut(program)), options.timeoutMs);
  const memoryTimer = setInterval(() => {
    if (memoryOf(child) > options.memoryBytes * MEMORY_SHARE) kill(tooMuchMemory(program));
  }, MEMORY_CHECK_MS);
  try {
    const stdout = collect(child, options.maxOutputBytes, () => kill(tooMuchOutput(program)));
    const stderr = keepEnd(child);
    const { exitCode, signal } = await ended(child, program);
    if (killedFor !== undefined) throw killedFor;
    if (exitCode === null) throw new ProcessorError('crashed', `${program} was ended by ${signal}.`);
    return { exitCode, stdout: Buffer.concat(stdout), stderr: stderr() };
  } finally {
    clearTimeout(timer);
    clearInterval(memoryTimer);
    options.signal.removeEventListener('abort', onAbort);
  }
}

function ended(
  child: ChildProcess,
  program: string,
): Promise<{ exitCode: number | null; signal: string | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      const isMissing = error.code === 'ENOENT' || error.code === 'EACCES';
      reject(
        isMissing
          ? new ProcessorError('tool_missing', `${program} is not installed.`, { cause: error })
          : new ProcessorError('crashed', `${program} could not be started.`, { cause: error }),
      );
    });
    child.once('close', (exitCode, signal) => resolve({ exitCode, signal }));
  });
}

function collect(child: ChildProcess, maxBytes: number, onTooMuch: () => void): Buffer[] {
  const chunks: Buffer[] = [];
  let bytes = 0;
  child.stdout!.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
    else onTooMuch();
  });
  return chunks;
}

function keepEnd(child: ChildProcess): () => string {
  let kept = Buffer.alloc(0);
  child.stderr!.on('data', (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]).subarray(-KEPT_ERROR_BYTES);
  });
  return () => kept.toString('utf8');
}

/** What is not known counts as nothing. */
function memoryOf(child: ChildProcess): number {
  const ofProgram = child.pid === undefined ? 0 : (residentBytes(child.pid) ?? 0);
  return ofProgram + process.memoryUsage.rss();
}

function timedOut(program: string): ProcessorError {
  return new ProcessorError('timeout', `${program} took longer than it may.`);
}

function tooMuchMemory(program: string): ProcessorError {
  return new ProcessorError('out_of_memory', `${program} took more memory than it may.`);
}

function tooMuchOutput(program: string): ProcessorError {
  return new ProcessorError('too_large', `${program} wrote more than it may.`);
}
