import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientProcess } from '../client-process.ts';
import type { MeasureOptions } from '../measure.ts';
import { cpuSeconds, peakResidentBytes, resetPeak } from '../process-usage.ts';
import type { ServerProcess } from '../server-process.ts';
import type { SinkCounts } from './sink-messages.ts';
import type { S3Target } from './target.ts';
import type { S3Workload, S3WorkloadName } from './workloads.ts';

/** One run of one workload against one server. */
export interface S3Run {
  workload: S3WorkloadName;
  variant: string;
  round: number;
  /** User and system seconds of the server's process. */
  cpuSeconds: number;
  seconds: number;
  /** What was resident when the run began, and the most during it. */
  idleResidentBytes: number;
  peakResidentBytes: number;
  /** Where the S3 server counts: what the creations caused, and what the PATCHes caused, completion included. */
  creation: SinkCounts | undefined;
  transfer: SinkCounts | undefined;
}

/** What a server puts off still belongs to the run. */
const SETTLE_MS = 100;
/** After the collection: brings V8's young generation back to its usual size (see `../measure.ts`). */
const TRAFFIC = { kind: 'small', count: 100, connections: 16, bytes: 1024, requests: 1 } as const;

export async function measureS3(
  workload: S3Workload,
  server: ServerProcess,
  target: S3Target,
  client: ClientProcess,
  { round, isIdleStart }: MeasureOptions,
): Promise<S3Run> {
  const { port, pid } = server;
  const { uploads, uploadBytes, chunkBytes, bytesPerSecond } = workload;
  await server.collectGarbage();
  if (!isIdleStart) await client.run({ ...TRAFFIC, port });
  await sleep(SETTLE_MS);
  await target.count?.();
  const { paths } = await client.run({ kind: 'create', port, count: uploads, bytes: uploadBytes });
  await sleep(SETTLE_MS);
  await resetPeak(pid);
  const idleResidentBytes = await peakResidentBytes(pid);
  const creation = await target.count?.(bytesPerSecond);
  const cpuBefore = await cpuSeconds(pid);
  const { seconds } = await client.run({ kind: 'patch', port, paths, bytes: uploadBytes, chunkBytes });
  await sleep(SETTLE_MS);
  // Nothing is removed: the stock store answers 404 to the DELETE of a finished upload.
  return {
    workload: workload.name,
    variant: server.variant.name,
    round,
    cpuSeconds: (await cpuSeconds(pid)) - cpuBefore,
    seconds,
    idleResidentBytes,
    peakResidentBytes: await peakResidentBytes(pid),
    creation,
    transfer: await target.count?.(),
  };
}
