import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientProcess } from './client-process.ts';
import { cpuSeconds, peakResidentBytes, resetPeak } from './process-usage.ts';
import type { ServerProcess } from './server-process.ts';
import type { Workload, WorkloadName } from './workloads.ts';

/** One run of one workload against one server. */
export interface Run {
  workload: WorkloadName;
  variant: string;
  round: number;
  /** User and system seconds of the server's process. */
  cpuSeconds: number;
  seconds: number;
  peakResidentBytes: number;
}

/** What a server puts off (a group commit, closing a file) still belongs to the run. */
const SETTLE_MS = 100;

/**
 * Uploads between the collection and the run. Right after a forced collection V8 often frees the buffers of a single
 * large body in frequent minor collections, which makes the stock server look up to four times cheaper, or not, from
 * run to run; after some traffic, as in a server that is in use, runs agree.
 */
const TRAFFIC = { kind: 'small', count: 500, connections: 16, bytes: 1024, requests: 1 } as const;

export interface MeasureOptions {
  round: number;
  /** Leaves out the traffic before the run. */
  isIdleStart: boolean;
}

export async function measure(
  workload: Workload,
  server: ServerProcess,
  client: ClientProcess,
  { round, isIdleStart }: MeasureOptions,
): Promise<Run> {
  const { port, pid } = server;
  const paths = await workload.prepare(client, port);
  await server.collectGarbage();
  if (!isIdleStart) await client.run({ ...TRAFFIC, port });
  await sleep(SETTLE_MS);
  await resetPeak(pid);
  const cpuBefore = await cpuSeconds(pid);
  const seconds = await workload.measure(client, port, paths);
  await sleep(SETTLE_MS);
  const run: Run = {
    workload: workload.name,
    variant: server.variant.name,
    round,
    cpuSeconds: (await cpuSeconds(pid)) - cpuBefore,
    seconds,
    peakResidentBytes: await peakResidentBytes(pid),
  };
  await client.run({ kind: 'remove', port, paths });
  return run;
}
