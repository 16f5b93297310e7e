import type { Command } from 'commander';
import { MAX_PARALLEL, MIN_CHUNK_BYTES } from '../client/plan.ts';
import { parsed, wholeNumber } from './client-command.ts';
import { UsageError } from './exit-codes.ts';
import { parseRate, parseSize } from './quantities.ts';

/** Options of every command that uploads. */
export interface UploadFlags {
  parallel?: number;
  chunkSize?: number;
  checksum?: string;
  limitRate?: number;
}

export function withUploadOptions(command: Command): Command {
  return withRateOption(command)
    .option(
      '--parallel <n>',
      `requests at the same time, 1 to ${MAX_PARALLEL} (default: by size)`,
      wholeNumber(1, MAX_PARALLEL),
    )
    .option(
      '--chunk-size <size>',
      'most bytes of one request, such as 8MiB (default: by size)',
      parsed(parseChunkSize),
    )
    .option('--checksum <algorithm>', 'sha256: have the server verify what arrived', parsed(parseAlgorithm));
}

export function withRateOption(command: Command): Command {
  return command.option('--limit-rate <rate>', 'bytes per second at most, such as 5MB/s', parsed(parseRate));
}

/** What the library is told of `--checksum`. */
export function checksumOf(flags: UploadFlags): 'sha256' | undefined {
  return flags.checksum === undefined ? undefined : 'sha256';
}

function parseChunkSize(text: string): number {
  const size = parseSize(text);
  if (size < MIN_CHUNK_BYTES) throw new UsageError(`"${text}" is less than 64KiB`);
  return size;
}

function parseAlgorithm(text: string): string {
  if (text.replace('-', '').toLowerCase() !== 'sha256') throw new UsageError(`"${text}" is not sha256`);
  return 'sha256';
}
