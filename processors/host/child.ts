import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProcessorError } from '../types.ts';
import type { ChildMessage, HostRequest, Usage } from './messages.ts';
import { fromSentError } from './messages.ts';
import { type WatchLimits, watch } from './watch.ts';

export interface ChildOptions {
  environment: Record<string, string>;
  /** Module that exports PROCESSORS. */
  registry: URL;
}

export interface ChildAnswer {
  result: Extract<ChildMessage, { kind: 'done' }>['result'];
  usage: Usage;
}

/** A running process. Any limit that is broken, an abort and a crash end it; it answers one request at a time. */
export interface ProcessorChild {
  readonly pid: number;
  /** False: it has ended, or is about to. */
  isAlive(): boolean;
  /**
   * @throws ProcessorError what the processor threw; timeout, out_of_memory, too_large, crashed
   * @throws the signal's reason; an Error with code `ERR_PROCESSOR_KILLED` where somebody else ended it
   */
  request(request: HostRequest, limits: WatchLimits, signal: AbortSignal | undefined): Promise<ChildAnswer>;
  /** Ends it with all programs that it started. */
  kill(): Promise<void>;
}

/** What a process says before it dies, for the log. */
const KEPT_STDERR_CHARACTERS = 4096;
/** Signals that others send; those of a fault in native code are not among them. */
const SENT_BY_OTHERS: ReadonlySet<NodeJS.Signals> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP']);

/** @throws Error with code `ERR_PROCESSOR_START`, which says nothing about any input */
export async function startChild({ environment, registry }: ChildOptions): Promise<ProcessorChild> {
  const entry = new URL(`../host-child${extname(import.meta.url)}`, import.meta.url);
  const child = fork(fileURLToPath(entry), [registry.href], {
    env: environment,
    execArgv: [],
    // A group of its own, which can be ended with all that it started, and which Ctrl-C in our terminal spares.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const exit = exitOf(child);
  await startOf(child, exit);
  const pid = child.pid as number;
  let isKilled = false;
  let onExit: ((error: Error) => void) | undefined;
  void exit.then((error) => onExit?.(error));
  return {
    pid,
    isAlive: () => !isKilled && child.exitCode === null && child.signalCode === null && child.connected,
    async kill() {
      isKilled = true;
      endGroup(child);
      await exit;
    },
    async request(request, limits, signal) {
      signal?.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<ChildAnswer>();
      let brokenLimit: unknown;
      const stop = (reason: unknown) => {
        brokenLimit ??= reason;
        isKilled = true;
        endGroup(child);
      };
      const watcher = watch(pid, limits, stop);
      const onAbort = () => stop(signal?.reason);
      const onMessage = (message: ChildMessage) => {
        if (message.kind === 'done') {
          const peakMemoryBytes = Math.max(message.usage.peakMemoryBytes, watcher.peakMemoryBytes());
          resolve({ result: message.result, usage: { ...message.usage, peakMemoryBytes } });
        } else if (message.kind === 'failed') {
          reject(fromSentError(message.error));
        }
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      child.on('message', onMessage);
      // Not before it is gone: nothing may be written into the directory of a request that has ended.
      onExit = (error) => reject(brokenLimit ?? error);
      try {
        child.send(request, (error) => {
          if (error !== null) stop(error);
        });
        return await promise;
      } finally {
        signal?.removeEventListener('abort', onAbort);
        child.off('message', onMessage);
        onExit = undefined;
        watcher.stop();
      }
    },
  };
}

/** Resolves when the child waits for requests. */
function startOf(child: ChildProcess, exit: Promise<Error>): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.once('message', () => resolve());
  void exit.then((cause) => {
    const error = new Error('The process that makes previews did not start.', { cause });
    reject(Object.assign(error, { code: 'ERR_PROCESSOR_START' }));
  });
  return promise;
}

/** Resolves with what its end means for the request that it was working on. */
function exitOf(child: ChildProcess): Promise<Error> {
  const { promise, resolve } = Promise.withResolvers<Error>();
  const stderr = keepTail(child);
  child.on('error', resolve);
  // Programs that it started live on, and hold its stderr open: `close` would never come.
  child.once('exit', () => endGroup(child));
  child.once('close', (code, signal) => {
    const cause = new Error(stderr());
    if (signal !== null && SENT_BY_OTHERS.has(signal)) {
      const error = new Error(`The process that makes previews was ended by ${signal}.`, { cause });
      resolve(Object.assign(error, { code: 'ERR_PROCESSOR_KILLED' }));
    } else {
      const how = signal ?? `exit code ${code}`;
      resolve(new ProcessorError('crashed', `The process that made the preview died (${how}).`, { cause }));
    }
  });
  return promise;
}

function keepTail(child: ChildProcess): () => string {
  let tail = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-KEPT_STDERR_CHARACTERS);
  });
  return () => tail;
}

function endGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // No group any more, or no such thing as groups here.
    child.kill('SIGKILL');
  }
}
