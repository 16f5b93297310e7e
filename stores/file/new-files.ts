import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { NewFilesAnswer, NewFilesBatch, NewFilesThreadData } from './new-files-thread.ts';

/** The two files of an upload that is whole. */
export interface NewFiles {
  id: string;
  info: string;
  data: readonly Buffer[];
  /** Bytes of `data`. */
  size: number;
}

export interface NewFilesWriter {
  /**
   * Resolves true when both files are there (and on the disk, where that is wanted); false when nothing of them is:
   * then whoever writes them in the ordinary way learns why.
   */
  write(files: NewFiles): Promise<boolean>;
  /** Whoever still waits is answered first. */
  close(): Promise<void>;
}

/** Files of so many uploads are open in the thread at once… */
const MAX_BATCH = 64;
/** …and so many bytes go over to it, or one upload. */
const MAX_BATCH_BYTES = 4 * 1024 * 1024;
/** The thread has next to nothing of its own. */
const THREAD_HEAP_MIB = 32;

interface Waiting {
  files: NewFiles;
  resolve(isWritten: boolean): void;
}

/**
 * Writes small uploads that come whole, many at a time, in a thread: what arrives while it writes and syncs a batch is
 * the next one. Started with the first of them.
 */
export function createNewFilesWriter(data: NewFilesThreadData): NewFilesWriter {
  let worker: Worker | undefined;
  /** It should never fail. Once it has, everything goes the ordinary way. */
  let isBroken = false;
  let waiting: Waiting[] = [];
  let running: Waiting[] = [];
  let isScheduled = false;
  let onIdle: (() => void) | undefined;

  function start(): Worker {
    const started = new Worker(new URL(`new-files-thread${extname(import.meta.url)}`, import.meta.url), {
      workerData: data,
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MIB },
      env: {},
      execArgv: [],
    });
    started.unref();
    started.on('message', (failed: NewFilesAnswer) => settle(new Set(failed)));
    started.on('error', breakDown);
    started.on('exit', breakDown);
    return started;
  }

  function settle(failed: Pick<Set<number>, 'has'>): void {
    const batch = running;
    running = [];
    for (const [index, { resolve }] of batch.entries()) resolve(!failed.has(index));
    sendNext();
  }

  function breakDown(): void {
    isBroken = true;
    worker = undefined;
    running.push(...waiting);
    waiting = [];
    settle({ has: () => true });
  }

  function sendNext(): void {
    if (running.length > 0) return;
    if (waiting.length === 0) {
      onIdle?.();
      return;
    }
    running = waiting.splice(0, batchLength(waiting));
    worker ??= start();
    const batch = packed(running.map(({ files }) => files));
    worker.postMessage(batch, [batch.bytes]);
  }

  return {
    write(files) {
      if (isBroken) return Promise.resolve(false);
      return new Promise((resolve) => {
        waiting.push({ files, resolve });
        if (isScheduled || running.length > 0) return;
        isScheduled = true;
        // Whatever else arrived in this turn goes along.
        setImmediate(() => {
          isScheduled = false;
          sendNext();
        });
      });
    },

    async close() {
      if (waiting.length + running.length > 0) {
        await new Promise<void>((resolve) => {
          onIdle = resolve;
        });
      }
      await worker?.terminate();
    },
  };
}

function batchLength(waiting: readonly Waiting[]): number {
  let bytes = 0;
  const tooMany = waiting.findIndex(({ files }, index) => {
    bytes += files.size;
    return index === MAX_BATCH || (index > 0 && bytes > MAX_BATCH_BYTES);
  });
  return tooMany === -1 ? waiting.length : tooMany;
}

/** In one piece of memory, which goes over to the thread. */
function packed(all: readonly NewFiles[]): NewFilesBatch {
  const length = all.reduce((sum, { info, size }) => sum + Buffer.byteLength(info) + size, 0);
  const bytes = Buffer.allocUnsafeSlow(length);
  let position = 0;
  const entries = all.map(({ id, info, data, size }) => {
    const infoBytes = bytes.write(info, position);
    position += infoBytes;
    for (const chunk of data) position += chunk.copy(bytes, position);
    return { id, infoBytes, dataBytes: size };
  });
  return { bytes: bytes.buffer as ArrayBuffer, entries };
}
