import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProcessOptions, type Processor, ProcessorError } from '../../processors/types.ts';

const MIB = 1024 ** 2;

/** Kept: a leak. */
const leaked: Buffer[] = [];
let warmUps = 0;

/** What a file's content tells the processor to do, in its process; what it returns is written to `said`. */
const DEEDS: Record<string, (options: ProcessOptions, argument: string) => Promise<unknown>> = {
  async say(_options, argument) {
    return argument;
  },
  async abort() {
    process.abort();
  },
  async fault() {
    process.kill(process.pid, 'SIGSEGV');
    await forever();
  },
  async exit() {
    process.stderr.write('famous last words\n');
    process.exit(3);
  },
  async hang() {
    await forever();
  },
  /** Not even its timers run any more. */
  async spin() {
    for (;;);
  },
  async eat() {
    for (const eaten: Buffer[] = []; ; await sleep(1)) eaten.push(Buffer.alloc(8 * MIB, 1));
  },
  async leak(_options, mebibytes) {
    leaked.push(Buffer.alloc(Number(mebibytes) * MIB, 1));
  },
  /** Starts a program that does nothing for ever, and waits for it. */
  async program({ outDir }) {
    const program = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    await writeFile(join(outDir, 'program'), String(program.pid));
    await once(program, 'exit');
  },
  async greedyProgram() {
    const eat = 'const eaten = []; setInterval(() => eaten.push(Buffer.alloc(8 * 1024 ** 2, 1)), 1)';
    await once(spawn(process.execPath, ['-e', eat], { stdio: 'ignore' }), 'exit');
  },
  /** A program that works for some 100 ms. */
  async busyProgram() {
    const work = 'const end = process.cpuUsage().user + 2e5; while (process.cpuUsage().user < end);';
    await once(spawn(process.execPath, ['-e', work], { stdio: 'ignore' }), 'exit');
  },
  async flood({ outDir }, mebibytes) {
    await writeFile(join(outDir, 'flood'), Buffer.alloc(Number(mebibytes) * MIB));
  },
  async floodAndHang({ outDir }, mebibytes) {
    await writeFile(join(outDir, 'flood'), Buffer.alloc(Number(mebibytes) * MIB));
    await forever();
  },
  async environment() {
    return process.env;
  },
  async priority() {
    return {
      niceness: getPriority(),
      autogroup: await readFile('/proc/self/autogroup', 'utf8').catch(() => ''),
    };
  },
  async processId() {
    return process.pid;
  },
  async warmUps() {
    return warmUps;
  },
  async refuse() {
    throw new ProcessorError('too_large', 'It is too large.');
  },
  async diskFull() {
    throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  },
};

/** Holds the event loop, and so the process. */
async function forever(): Promise<never> {
  for (;;) await sleep(1000);
}

const unrulyProcessor: Processor = {
  name: 'unruly',
  accepts: (mediaType) => mediaType === 'application/x-unruly',
  async process(inputPath, options) {
    const [deed = '', argument = ''] = (await readFile(inputPath, 'utf8')).split(' ');
    const said = await DEEDS[deed]?.(options, argument);
    if (said !== undefined) await writeFile(join(options.outDir, 'said'), JSON.stringify(said));
    return { previews: [] };
  },
  async warmUp() {
    warmUps += 1;
  },
};

export const PROCESSORS: readonly Processor[] = [unrulyProcessor];
