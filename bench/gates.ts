import type { Row } from './summary.ts';
import { LANDFALL, LANDFALL_SHA256 } from './variants.ts';
import type { WorkloadName } from './workloads.ts';

/** What this project holds itself to. Ratios within one run: they carry over from machine to machine. */
export interface Gate {
  what: string;
  limit: number;
  /** The limit is the least, not the most. */
  isMinimum: boolean;
  actual: number;
  isMet: boolean;
}

/** Gates of the workloads that were run. */
export function checkGates(rows: Row[]): Gate[] {
  const row = (workload: WorkloadName, variant: string) =>
    rows.find((candidate) => candidate.workload === workload && candidate.variant === variant);
  const patch = row('patch', LANDFALL);
  const hashing = row('patch', LANDFALL_SHA256);
  const concurrent = row('concurrent', LANDFALL);
  const small = row('small', LANDFALL);
  const download = row('download', LANDFALL);
  const sha256Cost = patch && hashing && hashing.cost - patch.cost;

  return [
    atMost('PATCH: CPU to the raw pipe', patch?.costToRaw, 0.8),
    atMost('PATCH: CPU to stock', patch?.costToStock, 0.35),
    atLeast('PATCH: MB/s to stock', patch?.rateToStock, 2),
    atMost('PATCH: CPU-s/GB that SHA-256 adds', sha256Cost, 0.65),
    atMost('PATCHes at once: CPU to the raw pipe', concurrent?.costToRaw, 1),
    atMost('create + 1 KiB in one POST: CPU to stock', small?.costToStock, 0.6),
    atMost('GET: CPU to createReadStream', download?.costToRaw, 0.4),
  ].filter((gate) => gate !== undefined);
}

function atMost(what: string, actual: number | undefined, limit: number): Gate | undefined {
  if (actual === undefined) return undefined;
  return { what, limit, isMinimum: false, actual, isMet: actual <= limit };
}

function atLeast(what: string, actual: number | undefined, limit: number): Gate | undefined {
  if (actual === undefined) return undefined;
  return { what, limit, isMinimum: true, actual, isMet: actual >= limit };
}
