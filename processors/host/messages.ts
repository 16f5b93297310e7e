import { PROCESSOR_ERROR_CODES, type ProcessedMedia, type ProcessOptions, ProcessorError } from '../types.ts';

/** What the host asks of a child, one at a time. */
export type HostRequest =
  | { kind: 'process'; inputPath: string; options: Omit<ProcessOptions, 'signal'> }
  | { kind: 'hash'; path: string }
  | { kind: 'warm-up' };

/** What a child says. */
export type ChildMessage =
  | { kind: 'started' }
  | { kind: 'done'; result: ProcessedMedia | string | null; usage: Usage }
  | { kind: 'failed'; error: SentError };

/** What one request took. */
export interface Usage {
  /** Processor time of the child and of the programs that it started and that have ended. */
  cpuMs: number;
  /** Most resident memory of the child. */
  peakMemoryBytes: number;
}

export interface SentError {
  name: string;
  message: string;
  code?: string;
}

export function toSentError(error: unknown): SentError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  return { name: error.name, message: error.message, ...code };
}

/** A ProcessorError again, or an Error with the `code` that the file system gave it. */
export function fromSentError({ name, message, code }: SentError): Error {
  const processorCode = PROCESSOR_ERROR_CODES.find((candidate) => candidate === code);
  if (name === 'ProcessorError' && processorCode !== undefined) {
    return new ProcessorError(processorCode, message);
  }
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}
