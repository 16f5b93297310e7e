import { once } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { ProcessorError } from '../types.ts';
import type { DrawnPage } from './pdfium.ts';
import type { PdfAnswer, PdfRequest, PdfWorkerData } from './worker.ts';

/** One PDF in a thread of its own. Always `end()` it. */
export interface PdfThread {
  /**
   * @throws ProcessorError corrupt, unsupported (encrypted), out_of_memory, crashed; the signal's reason
   */
  open(): Promise<Extract<PdfAnswer, { kind: 'opened' }>>;
  /** Undefined: this page cannot be read. Throws like `open`. */
  draw(index: number, longestSide: number): Promise<DrawnPage | undefined>;
  end(): Promise<void>;
}

/** Of V8's heap in the thread; documents and pages live outside of it. */
const THREAD_HEAP_MIB = 64;

/** Nothing is waited for any more once `signal` aborts, whatever the thread does: `end` stops it in the middle. */
export function startPdfThread(data: PdfWorkerData, signal: AbortSignal): PdfThread {
  const worker = new Worker(new URL(`worker${extname(import.meta.url)}`, import.meta.url), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MIB },
    env: {},
  });
  const failed = Promise.withResolvers<never>();
  // It may fail while nobody asks.
  failed.promise.catch(() => {});
  const onAbort = () => failed.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort);
  worker.once('error', (error) => failed.reject(explainThreadError(error)));
  worker.once('exit', () => failed.reject(new ProcessorError('crashed', 'The reader of PDFs has ended.')));

  const ask = async <Kind extends PdfAnswer['kind']>(
    request: PdfRequest,
    kind: Kind,
  ): Promise<Extract<PdfAnswer, { kind: Kind }>> => {
    worker.postMessage(request);
    const [answer] = (await Promise.race([once(worker, 'message'), failed.promise])) as [PdfAnswer];
    if (answer.kind === 'failed') throw toError(answer);
    if (answer.kind !== kind) throw new Error(`asked to ${request.kind}, the thread answered ${answer.kind}`);
    return answer as Extract<PdfAnswer, { kind: Kind }>;
  };
  return {
    open: () => ask({ kind: 'open' }, 'opened'),
    draw: async (index, longestSide) => (await ask({ kind: 'draw', index, longestSide }, 'drawn')).page,
    async end() {
      signal.removeEventListener('abort', onAbort);
      await worker.terminate();
    },
  };
}

function toError({ code, message }: Extract<PdfAnswer, { kind: 'failed' }>): Error {
  return code === undefined ? new Error(message) : new ProcessorError(code, message);
}

function explainThreadError(error: Error): Error {
  if ('code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY')
    return new ProcessorError('out_of_memory', 'The PDF takes more memory than it may.', { cause: error });
  return error;
}
