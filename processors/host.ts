import { extname } from 'node:path';
import { type ChildAnswer, type ProcessorChild, startChild } from './host/child.ts';
import { childEnvironment, findJemalloc } from './host/environment.ts';
import type { HostRequest } from './host/messages.ts';
import { residentBytes } from './host/process-memory.ts';
import { createSlots } from './host/slots.ts';
import { bytesIn, tooMuchOutput, type WatchLimits } from './host/watch.ts';
import type { ProcessedMedia, ProcessOptions } from './types.ts';

/** pino's signatures, as far as they are needed. */
export interface HostLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface ProcessorHostOptions {
  /** Processes at once. */
  concurrency: number;
  /** Resident bytes of one of them, with the programs that it started; a run's own limit can be lower. */
  memoryBytes: number;
  /** How long an idle process is kept warm. */
  idleMs?: number;
  log: HostLog;
  /** Module that exports PROCESSORS; ours where absent. */
  registry?: URL;
}

export interface HostedMedia extends ProcessedMedia {
  /** Processor time of the process and the programs that it started. */
  cpuMs: number;
  /** Most resident memory. */
  peakMemoryBytes: number;
}

/**
 * Runs processors in processes of their own: niced, with nothing of our environment, watched, and ended by the
 * limits. Whatever a file does to them, this process lives on.
 *
 * Calls beyond `concurrency` wait for their turn, first come first served; waiting counts towards no limit.
 */
export interface ProcessorHost {
  /**
   * @throws ProcessorError what is wrong with this input: another attempt would end the same way
   * @throws any other error, such as a full disk, a process that did not start (`ERR_PROCESSOR_START`), one that
   *   somebody else ended (`ERR_PROCESSOR_KILLED`), a closed host (`ERR_HOST_CLOSED`): worth another attempt
   */
  run(inputPath: string, options: ProcessOptions): Promise<HostedMedia>;
  /** SHA-256 of a file, hex. */
  sha256(path: string, signal?: AbortSignal): Promise<string>;
  /**
   * Files are on their way: sees to it that one process runs, its decoders loaded, and stays as if it had just done
   * something. Whoever comes meanwhile waits for it, and starts no other. Where one runs already, it costs nothing.
   */
  warmUp(): Promise<void>;
  /** Ends all processes, whatever they are at. */
  close(): Promise<void>;
}

const DEFAULT_IDLE_MS = 5 * 60_000;
/** Fragmented memory and small leaks of native code go with the process. */
const REQUESTS_PER_CHILD = 500;
/** A process that keeps so much of its memory when it is idle has too little left for the next file. */
const WORN_SHARE = 0.75;

interface Slot {
  child?: ProcessorChild | undefined;
  requests: number;
  idleTimer?: NodeJS.Timeout | undefined;
}

export function createProcessorHost(options: ProcessorHostOptions): ProcessorHost {
  const { concurrency, memoryBytes, idleMs = DEFAULT_IDLE_MS, log } = options;
  const registry = options.registry ?? new URL(`index${extname(import.meta.url)}`, import.meta.url);
  const environment = childEnvironment(process.env, findJemalloc());
  const slots = createSlots<Slot>(Array.from({ length: concurrency }, () => ({ requests: 0 })));
  const closing = new AbortController();
  /** Requests that run, or wait for their turn. */
  let underWay = 0;
  let warming: Promise<void> | undefined;

  async function ask(request: HostRequest, limits: WatchLimits, signal?: AbortSignal): Promise<ChildAnswer> {
    underWay++;
    try {
      // What is wrong with it, this one meets as well.
      await warming?.catch(() => {});
      return await askInTurn(request, limits, signal);
    } finally {
      underWay--;
    }
  }

  async function warm(): Promise<void> {
    // What runs is kept afterwards, and before there is more to do no other is needed.
    if (underWay > 0) return;
    const idle = slots.all.find(({ child }) => child?.isAlive() === true);
    if (idle === undefined) await askInTurn({ kind: 'warm-up' }, { memoryBytes });
    else idle.idleTimer?.refresh();
  }

  async function askInTurn(
    request: HostRequest,
    limits: WatchLimits,
    signal?: AbortSignal,
  ): Promise<ChildAnswer> {
    const anySignal = signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);
    const slot = await slots.take(anySignal);
    try {
      clearTimeout(slot.idleTimer);
      const child = await childOf(slot);
      slot.requests++;
      return await child.request(request, limits, anySignal).catch((error: unknown) => {
        if (!child.isAlive()) log.warn({ pid: child.pid, error }, 'a process for previews ended');
        throw error;
      });
    } finally {
      await tidy(slot);
      slots.giveBack(slot, slot.child !== undefined);
    }
  }

  async function childOf(slot: Slot): Promise<ProcessorChild> {
    if (slot.child?.isAlive() === true) return slot.child;
    slot.requests = 0;
    slot.child = await startChild({ environment, registry });
    log.info({ pid: slot.child.pid }, 'started a process for previews');
    return slot.child;
  }

  /** After a request: the process is kept, or not. */
  async function tidy(slot: Slot): Promise<void> {
    const { child } = slot;
    if (child === undefined) return;
    const isWorn =
      slot.requests >= REQUESTS_PER_CHILD || (residentBytes(child.pid) ?? 0) > memoryBytes * WORN_SHARE;
    if (!child.isAlive() || isWorn || closing.signal.aborted) {
      await end(slot);
      return;
    }
    slot.idleTimer = setTimeout(() => void end(slot), idleMs).unref();
  }

  async function end(slot: Slot): Promise<void> {
    const { child } = slot;
    slot.child = undefined;
    await child?.kill();
  }

  return {
    async run(inputPath, { signal, ...runOptions }) {
      const { limits, outDir } = runOptions;
      const { result, usage } = await ask(
        { kind: 'process', inputPath, options: runOptions },
        {
          timeMs: limits.timeMs,
          memoryBytes: Math.min(memoryBytes, limits.memoryBytes),
          output: { directory: outDir, bytes: limits.outputBytes },
        },
        signal,
      );
      if ((await bytesIn(outDir)) > limits.outputBytes) throw tooMuchOutput(limits.outputBytes);
      return { ...(result as ProcessedMedia), ...usage };
    },
    async sha256(path, signal) {
      const { result } = await ask({ kind: 'hash', path }, { memoryBytes }, signal);
      return result as string;
    },
    warmUp() {
      warming ??= warm().finally(() => {
        warming = undefined;
      });
      return warming;
    },
    async close() {
      closing.abort(Object.assign(new Error('The host is closed.'), { code: 'ERR_HOST_CLOSED' }));
      await slots.drained();
      for (const slot of slots.all) {
        clearTimeout(slot.idleTimer);
        await end(slot);
      }
    },
  };
}
