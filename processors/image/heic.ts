import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type ProcessLimits, ProcessorError } from '../types.ts';
import type { HeicAnswer, HeicQuestion } from './heic-worker.ts';
import type { SharpModule } from './sharp.ts';

/** Of JavaScript; what the decoder itself takes is outside of it, and within the limit of the process. */
const WORKER_HEAP_MB = 64;

/** The picture as an uncompressed TIFF with its colour profile, or why there is none. */
export type DecodedHeic = { tiff: Buffer } | { unsupported: string };

/** HEIF is a container: sharp decodes the AV1 in it, HEVC (which is what telephones write) it cannot. */
export async function needsHeicDecoder(sharp: SharpModule, path: string): Promise<boolean> {
  try {
    const { compression } = await sharp(path, { limitInputPixels: false }).metadata();
    return compression !== 'av1';
  } catch {
    // A codec that it has never heard of. The other decoder says what is wrong.
    return true;
  }
}

/**
 * Decodes the primary picture with libheif, compiled to WebAssembly, in a thread of its own: it blocks while it works,
 * and its memory is only given back with the thread.
 *
 * @throws ProcessorError too_large, corrupt, out_of_memory
 */
export async function decodeHeic(
  path: string,
  limits: ProcessLimits,
  signal: AbortSignal,
): Promise<DecodedHeic> {
  signal.throwIfAborted();
  const question: HeicQuestion = { path, maxPixels: limits.pixels };
  // The same file whether it is run as it is or compiled.
  const worker = new Worker(new URL(`heic-worker${extname(import.meta.url)}`, import.meta.url), {
    workerData: question,
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: WORKER_HEAP_MB },
  });
  const { promise, resolve, reject } = Promise.withResolvers<HeicAnswer>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  worker.once('message', resolve);
  worker.once('error', (error) => reject(decoderDied(error)));
  worker.once('exit', (code) => reject(decoderDied(new Error(`The decoder ended with ${code}.`))));
  try {
    const answer = await promise;
    if ('code' in answer) {
      if (answer.code === 'unsupported') return { unsupported: answer.message };
      throw new ProcessorError(answer.code, answer.message);
    }
    return { tiff: Buffer.from(answer.tiff) };
  } finally {
    signal.removeEventListener('abort', onAbort);
    await worker.terminate();
  }
}

/** An abort() of the WebAssembly, which is what it does without memory, or a fault in it. */
function decoderDied(error: unknown): ProcessorError {
  const text = error instanceof Error ? error.message : String(error);
  return /memory|OOM/i.test(text)
    ? new ProcessorError('out_of_memory', 'The HEIC needs more memory than there is.', { cause: error })
    : new ProcessorError('corrupt', 'The HEIC cannot be decoded.', { cause: error });
}
