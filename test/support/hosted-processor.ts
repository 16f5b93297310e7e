import { afterAll, beforeAll } from 'vitest';
import { createProcessorHost, type HostedMedia, type ProcessorHost } from '../../processors/host.ts';
import { processorFor } from '../../processors/index.ts';
import type { ProcessOptions } from '../../processors/types.ts';
import { LIMITS } from './processing-defaults.ts';

/** A processor whose work is done where it is done in earnest: in a process of its own. */
export interface HostedProcessor {
  readonly name: string;
  accepts(mediaType: string): boolean;
  process(inputPath: string, options: ProcessOptions): Promise<HostedMedia>;
  /** Ids of the processes so far. */
  readonly pids: number[];
}

/** One host for all tests of a file. */
export function hostedProcessor(): HostedProcessor {
  let host: ProcessorHost;
  const pids: number[] = [];
  beforeAll(async () => {
    host = createProcessorHost({
      concurrency: 1,
      memoryBytes: LIMITS.memoryBytes,
      log: { info: (fields: { pid?: number }) => void pids.push(fields.pid ?? 0), warn: () => {} },
    });
    await host.warmUp();
  });
  afterAll(() => host.close());
  return {
    name: 'hosted',
    accepts: (mediaType) => processorFor(mediaType) !== undefined,
    process: (inputPath, options) => host.run(inputPath, options),
    pids,
  };
}
