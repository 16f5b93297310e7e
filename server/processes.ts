import cluster, { type Worker } from 'node:cluster';
import type { FastifyBaseLogger } from 'fastify';
import { answerMetricsRequests } from './metrics/cluster.ts';

/** A process that dies sooner than this is not replaced at once: something is wrong with all of them. */
const QUICK_DEATH_MS = 5_000;
const RESTART_DELAY_MS = 1_000;

export interface ListeningMessage {
  type: 'listening';
  url: string;
  filesUrl: string;
}

export interface PrimaryOptions {
  count: number;
  graceMs: number;
  log: FastifyBaseLogger;
  /** Called once, when the first process listens. */
  onListening: (message: ListeningMessage) => void;
}

/**
 * Runs `count` server processes on one port (LANDFALL_PROCESSES) and replaces those that die. They share nothing
 * but the bucket and Redis: any of them may be killed at any moment.
 *
 * SIGTERM and SIGINT end all of them, each drained; SIGHUP replaces them one after the other, a new one taking
 * requests before the old one is drained.
 */
export function runPrimary({ count, graceMs, log, onListening }: PrimaryOptions): void {
  let isEnding = false;
  let hasListened = false;

  function start(): Worker {
    const worker = cluster.fork();
    const startedAt = Date.now();
    worker.once('message', (message: ListeningMessage) => {
      if (hasListened) return;
      hasListened = true;
      onListening(message);
    });
    worker.once('exit', (code, signal) => {
      if (isEnding) return endWhenAlone();
      if (worker.exitedAfterDisconnect || replaced.has(worker)) return;
      const pid = worker.process.pid;
      log.error({ pid, code, signal }, 'a server process ended: starting another');
      if (!hasListened && code !== 0) return endAfterFailedStart(code);
      setTimeout(() => isEnding || start(), Date.now() - startedAt < QUICK_DEATH_MS ? RESTART_DELAY_MS : 0);
    });
    return worker;
  }

  const replaced = new Set<Worker>();

  async function replaceAll(): Promise<void> {
    for (const old of workers()) {
      const worker = start();
      await new Promise((resolve) => {
        worker.once('message', resolve);
        worker.once('exit', resolve);
      });
      if (worker.isDead() || isEnding) return;
      replaced.add(old);
      old.process.kill('SIGTERM');
    }
  }

  function end(signal: NodeJS.Signals): void {
    if (isEnding) process.exit(1);
    isEnding = true;
    for (const worker of workers()) worker.process.kill(signal);
    setTimeout(() => process.exit(1), graceMs + 1_000).unref();
    endWhenAlone();
  }

  function endWhenAlone(): void {
    if (workers().every((worker) => worker.isDead())) process.exit(process.exitCode ?? 0);
  }

  /** A process that cannot start (no Redis, no bucket) is a wrong configuration, not an accident. */
  function endAfterFailedStart(code: number): void {
    process.exitCode = code;
    end('SIGTERM');
  }

  answerMetricsRequests();
  for (let index = 0; index < count; index += 1) start();
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('SIGHUP', () => void replaceAll());
}

function workers(): Worker[] {
  return Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
}
