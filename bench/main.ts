import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ClientProcess, startClientProcess } from './client-process.ts';
import { checkGates } from './gates.ts';
import { createDataDir, describeMachine } from './machine.ts';
import { measure, type Run } from './measure.ts';
import { type BenchOptions, parseOptions, USAGE } from './options.ts';
import { formatGates, formatRows } from './report.ts';
import { runS3Suite } from './s3/suite.ts';
import { type ServerProcess, startServerProcess } from './server-process.ts';
import { summarize } from './summary.ts';
import { VARIANTS } from './variants.ts';
import { createWorkloads, FULL, QUICK, WARM_UP, type Workload } from './workloads.ts';

const RESULTS_DIR = join(import.meta.dirname, 'results');

async function main(): Promise<void> {
  const options = readOptions();
  if (options === undefined) return;
  if (options.s3 !== undefined) {
    const { s3: target, rounds, isIdleStart, dir } = options;
    await runS3Suite({ target, rounds, isIdleStart, dir, resultsDir: RESULTS_DIR });
    return;
  }
  const workloads = chosen(options, createWorkloads(options.isQuick ? QUICK : FULL));
  const dataDir = await createDataDir(options.dir);
  const client = startClientProcess();
  const servers: ServerProcess[] = [];
  try {
    for (const variant of [...VARIANTS, ...options.peers]) {
      servers.push(await startServerProcess(variant, dataDir));
    }
    await warmUp(options, servers, client);
    const runs: Run[] = [];
    for (const workload of workloads) runs.push(...(await runRounds(workload, options, servers, client)));
    await report(options, workloads, runs);
  } finally {
    client.stop();
    await Promise.all(servers.map((server) => server.stop()));
    await rm(dataDir, { recursive: true, force: true });
  }
}

function readOptions(): BenchOptions | undefined {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exitCode = 64;
    return undefined;
  }
}

function chosen({ only }: BenchOptions, workloads: Workload[]): Workload[] {
  return only.length === 0 ? workloads : workloads.filter(({ name }) => only.includes(name));
}

async function warmUp(options: BenchOptions, servers: ServerProcess[], client: ClientProcess): Promise<void> {
  for (const workload of chosen(options, createWorkloads(WARM_UP))) {
    for (const server of servers) {
      if (workload.isFor(server.variant)) await measure(workload, server, client, { ...options, round: 0 });
    }
  }
}

/** A B C, A B C, …: what disturbs the machine for a while disturbs all of them. */
async function runRounds(
  workload: Workload,
  options: BenchOptions,
  servers: ServerProcess[],
  client: ClientProcess,
): Promise<Run[]> {
  const runs: Run[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    for (const server of servers) {
      if (!workload.isFor(server.variant)) continue;
      process.stderr.write(`${workload.name}, round ${round} of ${options.rounds}: ${server.variant.name}\n`);
      runs.push(await measure(workload, server, client, { ...options, round }));
    }
  }
  return runs;
}

async function report(options: BenchOptions, workloads: Workload[], runs: Run[]): Promise<void> {
  const machine = describeMachine();
  const tables = workloads.map((workload) => ({ workload, rows: summarize(workload, runs) }));
  const rows = tables.flatMap((table) => table.rows);
  const gates = checkGates(rows);
  const date = new Date().toISOString();

  process.stdout.write(
    `\nNode ${machine.node}, ${machine.cores} cores, ${machine.cpu}; medians of ${options.rounds} rounds\n`,
  );
  for (const table of tables) process.stdout.write(`\n${formatRows(table.workload, table.rows)}\n`);
  process.stdout.write(`\n${formatGates(gates)}\n`);

  await mkdir(RESULTS_DIR, { recursive: true });
  const path = join(RESULTS_DIR, `${date.slice(0, 19).replaceAll(':', '-')}Z.json`);
  const { isQuick, isIdleStart, rounds } = options;
  await writeFile(
    path,
    `${JSON.stringify({ date, machine, isQuick, isIdleStart, rounds, rows, gates, runs }, null, 2)}\n`,
  );
  process.stdout.write(`\n${path}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
