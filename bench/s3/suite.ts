import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RedisServer, startRedis } from '../../test/support/redis.ts';
import { startClientProcess } from '../client-process.ts';
import { createDataDir, describeMachine } from '../machine.ts';
import { formatGates } from '../report.ts';
import { type ServerProcess, startServerProcess } from '../server-process.ts';
import { measureS3, type S3Run } from './measure.ts';
import { checkS3Gates, formatS3Rows, summarizeS3 } from './summary.ts';
import { type S3TargetName, startTarget } from './target.ts';
import { s3Variants } from './variants.ts';
import { type S3Workload, workloadsFor } from './workloads.ts';

export interface S3SuiteOptions {
  target: S3TargetName;
  rounds: number;
  isIdleStart: boolean;
  dir: string | undefined;
  resultsDir: string;
}

/**
 * The S3 path against the stock S3 store, on the same S3 server. Prints tables and gates, and writes them with every
 * run to `<date>-s3.json`.
 */
export async function runS3Suite(options: S3SuiteOptions): Promise<void> {
  const workloads = workloadsFor(options.target);
  const dataDir = await createDataDir(options.dir);
  const target = await startTarget(options.target);
  const client = startClientProcess();
  const servers: ServerProcess[] = [];
  let redis: RedisServer | undefined;
  try {
    redis = await startRedisIfInstalled();
    for (const variant of s3Variants(target, redis?.url)) {
      servers.push(await startServerProcess(variant, dataDir));
    }
    const runs: S3Run[] = [];
    for (const workload of workloads) {
      // Round 0 is for the compiler. There is nothing more for it in a slow run.
      for (let round = workload.bytesPerSecond > 0 ? 1 : 0; round <= options.rounds; round++) {
        for (const server of servers) {
          process.stderr.write(
            `${workload.name}, round ${round} of ${options.rounds}: ${server.variant.name}\n`,
          );
          const run = await measureS3(workload, server, target, client, { ...options, round });
          if (round > 0) runs.push(run);
        }
      }
    }
    await report(options, workloads, runs);
  } finally {
    client.stop();
    await Promise.all(servers.map((server) => server.stop()));
    await redis?.stop();
    await target.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function startRedisIfInstalled(): Promise<RedisServer | undefined> {
  try {
    return await startRedis();
  } catch (error) {
    process.stderr.write(`without Redis: ${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  }
}

async function report(options: S3SuiteOptions, workloads: S3Workload[], runs: S3Run[]): Promise<void> {
  const { target, rounds, isIdleStart, resultsDir } = options;
  const machine = describeMachine();
  const tables = workloads.map((workload) => ({ workload, rows: summarizeS3(workload, runs) }));
  const rows = tables.flatMap((table) => table.rows);
  const gates = checkS3Gates(rows);
  const date = new Date().toISOString();

  process.stdout.write(
    `\nS3: ${target}; Node ${machine.node}, ${machine.cores} cores, ${machine.cpu}; medians of ${rounds} rounds\n`,
  );
  for (const table of tables) process.stdout.write(`\n${formatS3Rows(table.workload, table.rows)}\n`);
  process.stdout.write(`\n${formatGates(gates)}\n`);

  await mkdir(resultsDir, { recursive: true });
  const suffix = target === 'sink' ? 's3' : `s3-${target}`;
  const path = join(resultsDir, `${date.slice(0, 19).replaceAll(':', '-')}Z-${suffix}.json`);
  await writeFile(
    path,
    `${JSON.stringify({ date, machine, target, rounds, isIdleStart, rows, gates, runs }, null, 2)}\n`,
  );
  process.stdout.write(`\n${path}\n`);
}
