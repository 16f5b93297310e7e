/**
 * A program that owns a processor host and waits for a file that is never done.
 * Arguments: the input, an existing directory for the output.
 */
import { createProcessorHost } from '../../processors/host.ts';
import { LIMITS, SETTINGS } from './processing-defaults.ts';

const [inputPath = '', outDir = ''] = process.argv.slice(2);
const host = createProcessorHost({
  concurrency: 1,
  memoryBytes: LIMITS.memoryBytes,
  registry: new URL('./unruly-processors.ts', import.meta.url),
  log: { info: ({ pid }: { pid?: number }) => process.stdout.write(`${pid}\n`), warn: () => {} },
});
await host.run(inputPath, {
  mediaType: 'application/x-unruly',
  outDir,
  limits: LIMITS,
  settings: SETTINGS,
  signal: new AbortController().signal,
});
