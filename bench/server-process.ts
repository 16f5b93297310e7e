import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Variant } from './variants.ts';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;

export interface ServerProcess {
  variant: Variant;
  pid: number;
  port: number;
  /** A full collection now, where the process can be asked for it. */
  collectGarbage(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a variant in a process of its own, its output in a file, and waits until it takes connections. */
export async function startServerProcess(variant: Variant, baseDir: string): Promise<ServerProcess> {
  const dir = join(baseDir, variant.name);
  await mkdir(dir, { recursive: true });
  const port = await freePort();
  const { file, args, env } = variant.command(port, dir);
  const logPath = join(baseDir, `${variant.name}.log`);
  const log = await open(logPath, 'w');
  const child = spawn(file, args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', log.fd, log.fd, ...(variant.isPreloaded ? (['ipc'] as const) : [])],
  });
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => reject(new Error(`it ended with ${code ?? signal}`)));
  });
  failed.catch(() => {});
  try {
    await Promise.race([waitForPort(port), failed]);
  } catch (cause) {
    child.kill('SIGKILL');
    const output = await readFile(logPath, 'utf8');
    throw new Error(`${variant.name} did not start: ${String(cause)}\n${output}`, { cause });
  } finally {
    await log.close();
  }
  return {
    variant,
    pid: child.pid ?? 0,
    port,
    async collectGarbage() {
      if (!variant.isPreloaded) return;
      child.send('gc');
      await Promise.race([once(child, 'message'), failed]);
    },
    stop: () => stop(child),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

/** A port that nobody listens on right now: the server's output need not be understood to find it. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function waitForPort(port: number): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (isOpen) return;
    await sleep(50);
  }
  throw new Error(`nothing listened on port ${port} within ${START_TIMEOUT_MS} ms`);
}
