import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { redisLockKeys } from '../../stores/locker/redis-lock-table.ts';

/*
 * Real Redis servers for tests: Debian's `redis-server` on loopback, on a port that was free a moment ago, in a
 * directory of its own, without persistence unless a test asks for it. Every one is stopped by its process id.
 */

export interface StartRedisOptions {
  /** More lines for the command line, such as ['--appendonly', 'yes']. */
  args?: string[];
  /** With PEM files: it speaks TLS and nothing else, also with its replicas and its Cluster. */
  tls?: RedisTls | undefined;
  /** Becomes --requirepass and --masterauth. */
  password?: string | undefined;
  /**
   * It grants locks at once, as one does that has been there for longer than their time to live. Default: a new one,
   * which may have forgotten locks and is distrusted for so long (stores/locker/acquire.lua).
   */
  hasRunForLong?: boolean;
}

export interface RedisTls {
  certFile: string;
  keyFile: string;
  caFile: string;
}

export interface RedisServer {
  url: string;
  port: number;
  /** Of the process that runs now. */
  pid: number;
  /** Where its RDB and AOF files would be. */
  dir: string;
  /** A client for the test itself. It queues while the server is away, and is closed by `stop`. */
  admin: Redis;
  /** Stops it and removes its directory. Safe to call twice. */
  stop(): Promise<void>;
  /** kill -9: what was not saved is gone. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing answers. */
  pause(): void;
  resume(): void;
  /** Ends it if it still runs (SIGTERM) and starts it again on the same port, with what was saved. */
  restart(): Promise<void>;
}

const START_TIMEOUT_MS = 10_000;

export async function startRedis(options: StartRedisOptions = {}): Promise<RedisServer> {
  // Between asking for a free port and using it, somebody else may take it: then another one is tried.
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOn(await freePort(), options);
    } catch (error) {
      if (attempt === 5 || !String(error).includes('Address already in use')) throw error;
    }
  }
}

async function startOn(port: number, options: StartRedisOptions): Promise<RedisServer> {
  const dir = await mkdtemp(join(tmpdir(), 'landfall-redis-'));
  const args = serverArgs(port, dir, options);
  let process = await spawnServer(args).catch(async (error) => {
    await rm(dir, { recursive: true, force: true });
    throw error;
  });
  const clientOptions = {
    port,
    host: '127.0.0.1',
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.tls === undefined ? {} : { tls: { rejectUnauthorized: false } }),
  };
  const admin = new Redis({
    ...clientOptions,
    replyMapping: 'legacy',
    maxRetriesPerRequest: null,
    retryStrategy: () => 50,
  });
  admin.on('error', () => {}); // servers come and go in these tests
  if (options.hasRunForLong === true) {
    const runId = /run_id:(\w+)/.exec(await admin.info('server'))?.[1];
    await admin.set(redisLockKeys('').era, `${runId} 0`);
  }
  const auth = options.password === undefined ? '' : `:${options.password}@`;
  let isStopped = false;

  return {
    url: `${options.tls === undefined ? 'redis' : 'rediss'}://${auth}127.0.0.1:${port}`,
    port,
    get pid() {
      return process.pid ?? 0;
    },
    dir,
    admin,
    async stop() {
      if (isStopped) return;
      isStopped = true;
      admin.disconnect();
      await endProcess(process, 'SIGKILL');
      await rm(dir, { recursive: true, force: true });
    },
    kill: () => endProcess(process, 'SIGKILL'),
    pause: () => void process.kill('SIGSTOP'),
    resume: () => void process.kill('SIGCONT'),
    async restart() {
      await endProcess(process, 'SIGTERM');
      process = await spawnServer(args);
    },
  };
}

function serverArgs(port: number, dir: string, { tls, password, args = [] }: StartRedisOptions): string[] {
  return [
    ...['--bind', '127.0.0.1', '--dir', dir, '--save', '', '--daemonize', 'no', '--databases', '16'],
    ...(tls === undefined
      ? ['--port', String(port)]
      : tlsSettings(port, tls).flatMap(([name, value]) => [`--${name}`, value])),
    ...(password === undefined ? [] : ['--requirepass', password, '--masterauth', password]),
    ...args,
  ];
}

/** Of a server or a Sentinel. */
export function tlsSettings(port: number, tls: RedisTls): [name: string, value: string][] {
  return [
    ['port', '0'],
    ['tls-port', String(port)],
    ['tls-auth-clients', 'no'],
    ['tls-replication', 'yes'],
    ['tls-cluster', 'yes'],
    ['tls-cert-file', tls.certFile],
    ['tls-key-file', tls.keyFile],
    ['tls-ca-cert-file', tls.caFile],
  ];
}

/** Servers that a test run which is cut short would leave behind. */
const running = new Set<ChildProcess>();
globalThis.process.once('exit', () => {
  for (const process of running) process.kill('SIGKILL');
});

/** Resolves when the server accepts connections; rejects with what it printed when it ends instead. */
export async function spawnServer(args: string[], program = 'redis-server'): Promise<ChildProcess> {
  const process = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(process);
  process.once('close', () => running.delete(process));
  let output = '';
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => fail(new Error('took too long to start')), START_TIMEOUT_MS);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      process.kill('SIGKILL');
      const hint = 'code' in error && error.code === 'ENOENT' ? ' (apt-get install redis-server)' : '';
      reject(new Error(`${program} ${args.join(' ')}: ${error.message}${hint}\n${output}`));
    };
    const read = (chunk: Buffer): void => {
      output = (output + chunk).slice(-20_000);
      if (/Ready to accept connections|Sentinel ID is/.test(output)) {
        clearTimeout(timer);
        resolve();
      }
    };
    process.stdout.on('data', read);
    process.stderr.on('data', read);
    process.once('error', fail);
    process.once('exit', (code) => fail(new Error(`ended with code ${code}`)));
  });
  process.removeAllListeners('exit');
  return process;
}

/** Resolves when the process is gone. */
export async function endProcess(process: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const exited = once(process, 'exit');
  process.kill(signal);
  // A stopped process takes no SIGTERM before it goes on.
  process.kill('SIGCONT');
  await exited;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address !== null
          ? resolve(address.port)
          : reject(new Error('no port')),
      );
    });
  });
}

/** Waits until `condition` holds; for what happens at another process in its own time. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`did not come true in ${timeoutMs} ms: ${condition}`);
    await sleep(5);
  }
}
