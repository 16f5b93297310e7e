import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { childEnvironment, findJemalloc } from '../../processors/host/environment.ts';
import { createSlots } from '../../processors/host/slots.ts';
import { createProcessorHost, type ProcessorHost, type ProcessorHostOptions } from '../../processors/host.ts';
import type { ProcessLimits } from '../../processors/types.ts';
import { temporaryDirectory } from '../support/processing.ts';
import { LIMITS, SETTINGS } from '../support/processing-defaults.ts';

const MIB = 1024 ** 2;

interface Started {
  host: ProcessorHost;
  /** Of the processes, in the order in which they were started. */
  pids: number[];
}

function startHost(options: Partial<ProcessorHostOptions> = {}): Started {
  const pids: number[] = [];
  const host = createProcessorHost({
    concurrency: 1,
    memoryBytes: LIMITS.memoryBytes,
    registry: new URL('../support/unruly-processors.ts', import.meta.url),
    log: { info: (fields: { pid?: number }) => void pids.push(fields.pid ?? 0), warn: () => {} },
    ...options,
  });
  onTestFinished(() => host.close());
  return { host, pids };
}

interface Order {
  limits?: Partial<ProcessLimits>;
  signal?: AbortSignal;
  outDir?: string;
}

/** Runs a deed of test/support/unruly-processors.ts; what it says is JSON. */
async function perform(host: ProcessorHost, deed: string, { limits, signal, outDir }: Order = {}) {
  const directory = outDir ?? (await temporaryDirectory());
  const inputPath = join(await temporaryDirectory(), 'deed');
  await writeFile(inputPath, deed);
  const media = await host.run(inputPath, {
    mediaType: 'application/x-unruly',
    outDir: directory,
    limits: { ...LIMITS, ...limits },
    settings: SETTINGS,
    signal: signal ?? new AbortController().signal,
  });
  const said = await readFile(join(directory, 'said'), 'utf8').catch(() => 'null');
  return { media, said: JSON.parse(said) as unknown };
}

/** A process that has ended and that nobody has waited for yet is no process any more. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'latin1') : '';
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}

const untilGone = (pid: number) => vi.waitFor(() => expect(isRunning(pid)).toBe(false), { timeout: 10_000 });

/** The process id that the deed `program` wrote. */
function programStartedIn(outDir: string): Promise<number> {
  const look = async () => {
    const text = await readFile(join(outDir, 'program'), 'utf8');
    expect(text).not.toBe('');
    return Number(text);
  };
  return vi.waitFor(look, { timeout: 10_000 });
}

describe('a file that ends its process', () => {
  test.each([
    ['abort', { code: 'crashed' }],
    ['fault', { code: 'crashed' }],
    ['exit', { code: 'crashed', message: expect.stringContaining('exit code 3') }],
  ])('by %s has crashed it, and the next one gets another', async (deed, expected) => {
    const { host, pids } = startHost();
    await expect(perform(host, deed)).rejects.toMatchObject({ name: 'ProcessorError', ...expected });
    expect((await perform(host, 'say hello')).said).toBe('hello');
    expect(pids).toHaveLength(2);
  });

  test('leaves its last words to the log', async () => {
    const warn = vi.fn();
    const { host } = startHost({ log: { info: () => {}, warn } });
    await expect(perform(host, 'exit')).rejects.toThrow();
    expect(warn).toHaveBeenCalledOnce();
    expect(warn.mock.calls[0]?.[0].error.cause.message).toContain('famous last words');
  });

  test('is not to blame where somebody else ended it', async () => {
    const { host, pids } = startHost();
    const running = perform(host, 'hang');
    running.catch(() => {});
    await vi.waitFor(() => expect(pids).toHaveLength(1), { timeout: 10_000 });
    process.kill(pids[0]!, 'SIGKILL');
    await expect(running).rejects.toMatchObject({ name: 'Error', code: 'ERR_PROCESSOR_KILLED' });
  });
});

describe('limits', () => {
  test.each(['hang', 'spin', 'program'])('of time end one that does nothing but %s', async (deed) => {
    const { host, pids } = startHost();
    await host.warmUp();
    await expect(perform(host, deed, { limits: { timeMs: 300 } })).rejects.toMatchObject({ code: 'timeout' });
    expect(isRunning(pids[0]!)).toBe(false);
    expect((await perform(host, 'say hello')).said).toBe('hello');
  });

  test.each(['eat', 'greedyProgram'])('of memory end one that would %s', async (deed) => {
    const { host } = startHost();
    const failure = perform(host, deed, { limits: { memoryBytes: 300 * MIB } });
    await expect(failure).rejects.toMatchObject({ name: 'ProcessorError', code: 'out_of_memory' });
    expect((await perform(host, 'say hello')).said).toBe('hello');
  });

  test.each(['flood 3', 'floodAndHang 80'])('of output: %s', async (deed) => {
    const { host } = startHost();
    await expect(perform(host, deed, { limits: { outputBytes: 2 * MIB } })).rejects.toMatchObject({
      name: 'ProcessorError',
      code: 'too_large',
    });
    await expect(perform(host, 'flood 3', { limits: { outputBytes: 3 * MIB } })).resolves.toBeDefined();
  });
});

describe('what a processor throws', () => {
  test('is a ProcessorError here too', async () => {
    const { host, pids } = startHost();
    await expect(perform(host, 'refuse')).rejects.toMatchObject({
      name: 'ProcessorError',
      code: 'too_large',
      message: 'It is too large.',
    });
    await perform(host, 'say hello');
    expect(pids).toHaveLength(1);
  });

  test('and says nothing about the file where it is one of the machine', async () => {
    const { host } = startHost();
    await expect(perform(host, 'diskFull')).rejects.toMatchObject({ name: 'Error', code: 'ENOSPC' });
  });

  test('a type that nobody accepts is unsupported', async () => {
    const { host } = startHost();
    const options = { outDir: await temporaryDirectory(), limits: LIMITS, settings: SETTINGS };
    const { signal } = new AbortController();
    await expect(
      host.run('/dev/null', { mediaType: 'text/plain', signal, ...options }),
    ).rejects.toMatchObject({ code: 'unsupported' });
  });

  test('a registry that cannot be loaded is no fault of the file', async () => {
    const { host } = startHost({ registry: new URL('file:///nonexistent/registry.ts') });
    await expect(perform(host, 'say hello')).rejects.toMatchObject({
      name: 'Error',
      code: 'ERR_PROCESSOR_START',
    });
  });
});

describe('a process', () => {
  test('gets nothing of our environment but what it needs to find things', async () => {
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'very secret');
    vi.stubEnv('LANDFALL_SIGNING_KEY', 'very secret');
    vi.stubEnv('NODE_OPTIONS', '--no-warnings');
    onTestFinished(() => void vi.unstubAllEnvs());
    const { host } = startHost();
    const { said } = await perform(host, 'environment');
    const allowed = /^(?:PATH|TMPDIR|TZ|LANG|LC_ALL|LC_CTYPE|LD_LIBRARY_PATH|FONTCONFIG_(?:FILE|PATH))$/;
    const ours = /^(?:LD_PRELOAD|MALLOC_CONF|MALLOC_ARENA_MAX|NODE_CHANNEL_(?:FD|SERIALIZATION_MODE))$/;
    for (const name of Object.keys(said as object)) {
      expect(allowed.test(name) || ours.test(name), name).toBe(true);
    }
    expect(JSON.stringify(said)).not.toContain('very secret');
  });

  test('steps back behind uploads, with all of its threads', async () => {
    const { host, pids } = startHost();
    const { said } = await perform(host, 'priority');
    expect(said).toMatchObject({ niceness: 10 });
    const { autogroup } = said as { autogroup: string };
    if (autogroup !== '') expect(autogroup).toContain('nice 10');
    const nicenesses = readdirSync(`/proc/${pids[0]}/task`).map((thread) => {
      const stat = readFileSync(`/proc/${pids[0]}/task/${thread}/stat`, 'latin1');
      return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16];
    });
    expect(nicenesses.length).toBeGreaterThan(1);
    expect(new Set(nicenesses)).toEqual(new Set(['10']));
  });

  test('is kept from one file to the next', async () => {
    const { host } = startHost();
    const first = await perform(host, 'processId');
    expect((await perform(host, 'processId')).said).toBe(first.said);
  });

  test('is ended when it is idle, and started again', async () => {
    const { host, pids } = startHost({ idleMs: 20 });
    await perform(host, 'say hello');
    await untilGone(pids[0]!);
    expect((await perform(host, 'say again')).said).toBe('again');
    expect(pids).toHaveLength(2);
  });

  test('is replaced when it keeps most of the memory that it may have', async () => {
    const { host, pids } = startHost({ memoryBytes: 400 * MIB });
    await perform(host, 'leak 280');
    await untilGone(pids[0]!);
    await perform(host, 'say hello');
    expect(pids).toHaveLength(2);
  });

  test('tells what a file took: its own, and that of programs', async () => {
    const { host } = startHost();
    const idle = (await perform(host, 'say hello')).media;
    expect(idle.cpuMs).toBeLessThan(150);
    expect((await perform(host, 'busyProgram')).media.cpuMs).toBeGreaterThan(150);
    const leaking = (await perform(host, 'leak 100')).media;
    expect(leaking.peakMemoryBytes).toBeGreaterThan(idle.peakMemoryBytes + 90 * MIB);
  });

  test.each(['hang', 'program'])(
    'ends with its owner, even one that is killed, while it does %s',
    async (deed) => {
      const directory = await temporaryDirectory();
      const [input, outDir] = [join(directory, 'deed'), join(directory, 'out')];
      await mkdir(outDir);
      await writeFile(input, deed);
      const script = fileURLToPath(new URL('../support/host-owner.ts', import.meta.url));
      const owner = spawn(process.execPath, [script, input, outDir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      onTestFinished(() => void owner.kill('SIGKILL'));
      const [pid] = await once(createInterface(owner.stdout), 'line');
      expect(isRunning(Number(pid))).toBe(true);
      const program = deed === 'program' ? await programStartedIn(outDir) : undefined;
      owner.kill('SIGKILL');
      await untilGone(Number(pid));
      if (program !== undefined) await untilGone(program);
    },
  );
});

describe('a process that is warmed up', () => {
  test('is the one for what comes meanwhile, however often it is asked for', async () => {
    const { host, pids } = startHost({ concurrency: 2 });
    const warm = [host.warmUp(), host.warmUp()];
    expect((await perform(host, 'warmUps')).said).toBe(1);
    await Promise.all(warm);
    await host.warmUp();
    expect((await perform(host, 'warmUps')).said).toBe(1);
    expect(pids).toHaveLength(1);
  });

  test('is not needed while another works, or is about to', async () => {
    const { host, pids } = startHost({ concurrency: 2 });
    const path = join(await temporaryDirectory(), 'original');
    await writeFile(path, 'landfall');
    await Promise.all([host.sha256(path), host.warmUp()]);
    expect(pids).toHaveLength(1);
  });

  test('stays for as long as files are on their way', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const { host, pids } = startHost({ idleMs: 1000 });
    await host.warmUp();
    for (let times = 0; times < 3; times++) {
      vi.advanceTimersByTime(999);
      await host.warmUp();
    }
    expect(isRunning(pids[0]!)).toBe(true);
    vi.advanceTimersByTime(1000);
    vi.useRealTimers();
    await untilGone(pids[0]!);
    expect(pids).toHaveLength(1);
  });

  test('and does not start fails no file by that', async () => {
    const { host } = startHost({ registry: new URL('file:///nonexistent/registry.ts') });
    const warm = host.warmUp();
    const failure = { name: 'Error', code: 'ERR_PROCESSOR_START' };
    await Promise.all([
      expect(warm).rejects.toMatchObject(failure),
      expect(perform(host, 'say hello')).rejects.toMatchObject(failure),
    ]);
  });
});

describe('turns', () => {
  test('no more than the limit at once, the others first come first served', async () => {
    const { host, pids } = startHost({ concurrency: 2 });
    const stops = [new AbortController(), new AbortController()];
    const hanging = stops.map(({ signal }) => perform(host, 'hang', { signal }));
    for (const promise of hanging) promise.catch(() => {});
    await vi.waitFor(() => expect(pids).toHaveLength(2), { timeout: 10_000 });
    const order: string[] = [];
    const waiting = ['first', 'second', 'third'].map(async (name, index) => {
      // Their input is written first: that their turns come in this order is not.
      const path = join(await temporaryDirectory(), name);
      await writeFile(path, name.repeat(index + 1));
      return path;
    });
    const hashed = (await Promise.all(waiting)).map(async (path) => {
      await host.sha256(path);
      order.push(path.split('/').at(-1)!);
    });
    const gone = new AbortController();
    const late = host.sha256('/dev/null', gone.signal);
    gone.abort(new Error('no longer wanted'));
    await expect(late).rejects.toThrow('no longer wanted');
    expect(order).toEqual([]);
    stops[0]?.abort(new Error('enough'));
    await expect(hanging[0]).rejects.toThrow('enough');
    await Promise.all(hashed);
    expect(order).toEqual(['first', 'second', 'third']);
    stops[1]?.abort(new Error('enough'));
    await expect(hanging[1]).rejects.toThrow('enough');
  });

  test('an abort ends what is running', async () => {
    const { host, pids } = startHost();
    const stop = new AbortController();
    const running = perform(host, 'spin', { signal: stop.signal });
    running.catch(() => {});
    await vi.waitFor(() => expect(pids).toHaveLength(1), { timeout: 10_000 });
    stop.abort(new Error('the server ends'));
    await expect(running).rejects.toThrow('the server ends');
    expect(isRunning(pids[0]!)).toBe(false);
  });

  test('an abort ends the programs that were started, too', async () => {
    const { host } = startHost();
    const stop = new AbortController();
    const outDir = await temporaryDirectory();
    const running = perform(host, 'program', { signal: stop.signal, outDir });
    running.catch(() => {});
    const program = await programStartedIn(outDir);
    expect(isRunning(program)).toBe(true);
    stop.abort(new Error('the server ends'));
    await expect(running).rejects.toThrow('the server ends');
    await untilGone(program);
  });

  test('who leaves the moment that it is served takes nobody else out of the queue', async () => {
    const slots = createSlots(['only']);
    const { signal } = new AbortController();
    const leaving = new AbortController();
    const only = await slots.take(signal);
    const [served, next] = [slots.take(leaving.signal), slots.take(signal)];
    slots.giveBack(only, true);
    leaving.abort();
    slots.giveBack(await served, true);
    expect(await next).toBe('only');
  });

  test('closing ends all of it, waiting and running', async () => {
    const { host, pids } = startHost();
    const running = [perform(host, 'hang'), perform(host, 'hang')];
    for (const promise of running) promise.catch(() => {});
    await vi.waitFor(() => expect(pids).toHaveLength(1), { timeout: 10_000 });
    await host.close();
    for (const promise of running) await expect(promise).rejects.toMatchObject({ code: 'ERR_HOST_CLOSED' });
    expect(isRunning(pids[0]!)).toBe(false);
    await expect(host.sha256('/dev/null')).rejects.toMatchObject({ code: 'ERR_HOST_CLOSED' });
  });
});

describe('sha256', () => {
  test('is that of the file', async () => {
    const { host } = startHost();
    const bytes = Buffer.alloc(3 * MIB + 1, 'landfall');
    const path = join(await temporaryDirectory(), 'original');
    await writeFile(path, bytes);
    expect(await host.sha256(path)).toBe(createHash('sha256').update(bytes).digest('hex'));
  });

  test('of a file that is not there fails as the file system says', async () => {
    const { host } = startHost();
    await expect(host.sha256('/nonexistent/original')).rejects.toMatchObject({
      name: 'Error',
      code: 'ENOENT',
    });
  });
});

describe('jemalloc', () => {
  test('is preloaded where it is installed', () => {
    const path = findJemalloc((candidate) => candidate === '/usr/lib/libjemalloc.so.2');
    expect(path).toBe('/usr/lib/libjemalloc.so.2');
    expect(childEnvironment({ HOME: '/root', PATH: '/bin' }, path)).toEqual({
      PATH: '/bin',
      LD_PRELOAD: '/usr/lib/libjemalloc.so.2',
      MALLOC_CONF: 'narenas:2,dirty_decay_ms:1000',
    });
  });

  test('and nothing is where it is not', () => {
    expect(findJemalloc(() => false)).toBeUndefined();
    expect(childEnvironment({}, undefined)).not.toHaveProperty('LD_PRELOAD');
  });
});
