/**
 * The process that decodes strangers' files: it does one thing at a time, as its parent asks over IPC, and ends with
 * its parent. Started by processors/host/child.ts, which watches it.
 *
 * Argument: the URL of the module that exports PROCESSORS.
 */
import { createHash } from 'node:crypto';
import { createReadStream, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { pipeline } from 'node:stream/promises';
import type { ChildMessage, HostRequest } from './host/messages.ts';
import { toSentError } from './host/messages.ts';
import { threadsOf } from './host/process-memory.ts';
import { measureUsage } from './host/usage.ts';
import type { ProcessedMedia, Processor } from './types.ts';
import { ProcessorError } from './types.ts';

const NICENESS = 10;
const HASH_READ_BYTES = 1024 ** 2;

function main(registryUrl: string): void {
  // Also after a kill -9 of the parent: its end of the channel is gone. Nothing here is worth finishing.
  process.on('disconnect', endWithPrograms);
  lowerPriority();
  const registry = import(registryUrl) as Promise<{ PROCESSORS: readonly Processor[] }>;
  process.on('message', (request: HostRequest) => {
    void registry.then(({ PROCESSORS }) => answer(request, PROCESSORS));
  });
  registry.then(
    () => send({ kind: 'started' }),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    },
  );
}

/** The whole group: ffmpeg and Ghostscript too. */
function endWithPrograms(): void {
  try {
    process.kill(-process.pid, 'SIGKILL');
  } catch {
    process.exit(1);
  }
}

/**
 * Uploads come first. Linux knows a niceness per thread, which new ones take over from the one that starts them, and
 * with autogroups (which the process has one of, as the leader of a session) compares only the groups'.
 */
function lowerPriority(): void {
  try {
    for (const thread of [0, ...threadsOf(process.pid)]) setPriority(thread, NICENESS);
    writeFileSync('/proc/self/autogroup', String(NICENESS));
  } catch {
    // There are no autogroups here, or somebody has made us nicer than that already.
  }
}

async function answer(request: HostRequest, processors: readonly Processor[]): Promise<void> {
  const usage = measureUsage();
  try {
    const result = await handle(request, processors);
    send({ kind: 'done', result, usage: usage() });
  } catch (error) {
    send({ kind: 'failed', error: toSentError(error) });
  }
}

async function handle(
  request: HostRequest,
  processors: readonly Processor[],
): Promise<ProcessedMedia | string | null> {
  switch (request.kind) {
    case 'process': {
      const { inputPath, options } = request;
      const processor = processors.find((candidate) => candidate.accepts(options.mediaType));
      if (processor === undefined) {
        throw new ProcessorError('unsupported', `No previews are made of ${options.mediaType}.`);
      }
      // Who wants it to stop ends this process.
      return await processor.process(inputPath, { ...options, signal: new AbortController().signal });
    }
    case 'hash': {
      const hash = createHash('sha256');
      await pipeline(createReadStream(request.path, { highWaterMark: HASH_READ_BYTES }), hash);
      return hash.digest('hex');
    }
    case 'warm-up':
      await Promise.all(processors.map((processor) => processor.warmUp?.()));
      return null;
  }
}

function send(message: ChildMessage): void {
  // Without a parent there is nobody to tell, and `disconnect` is on its way.
  if (process.connected) process.send?.(message);
}

main(process.argv[2] ?? '');
