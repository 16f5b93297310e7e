import type { Gate } from '../gates.ts';
import { formatTable } from '../report.ts';
import { median } from '../summary.ts';
import type { S3Run } from './measure.ts';
import { LANDFALL_S3, STOCK_S3 } from './variants.ts';
import { type S3Workload, type S3WorkloadName, totalBytes, totalChunks } from './workloads.ts';

/** One line of a table: medians over the rounds. Undefined: the S3 server did not count. */
export interface S3Row {
  workload: S3WorkloadName;
  variant: string;
  /** CPU seconds per 10^9 bytes. */
  cost: number;
  /** 10^6 bytes per second. */
  rate: number;
  /** Median of the ratios within each round: a noisy minute hits a whole round. */
  costToStock: number | undefined;
  /** From creation to completion. */
  requestsPerUpload: number | undefined;
  /** Those that the PATCHes caused, completion included. */
  requestsPerChunk: number | undefined;
  /** Bytes that S3 received to bytes that were uploaded. */
  sentRatio: number | undefined;
  idleResidentBytes: number;
  peakResidentBytes: number;
}

const CPU_LIMIT = 0.2;
const REQUESTS_PER_CHUNK_LIMIT = 2;

export function summarizeS3(workload: S3Workload, runs: S3Run[]): S3Row[] {
  const ofWorkload = runs.filter((run) => run.workload === workload.name);
  const bytes = totalBytes(workload);
  const chunks = totalChunks(workload);
  return [...new Set(ofWorkload.map((run) => run.variant))].map((variant) => {
    const own = ofWorkload.filter((run) => run.variant === variant);
    const ratios = own.flatMap((run) => {
      const stock = ofWorkload.find((that) => that.variant === STOCK_S3 && that.round === run.round);
      return stock === undefined ? [] : [run.cpuSeconds / stock.cpuSeconds];
    });
    const counted = own.flatMap(({ creation, transfer }) =>
      creation && transfer ? [{ creation, transfer }] : [],
    );
    const medianOf = (of: (run: (typeof counted)[number]) => number) =>
      counted.length === 0 ? undefined : median(counted.map(of));
    return {
      workload: workload.name,
      variant,
      cost: median(own.map((run) => (run.cpuSeconds / bytes) * 1e9)),
      rate: median(own.map((run) => bytes / run.seconds / 1e6)),
      costToStock: ratios.length === 0 ? undefined : median(ratios),
      requestsPerUpload: medianOf(
        (run) => (run.creation.requests + run.transfer.requests) / workload.uploads,
      ),
      requestsPerChunk: medianOf((run) => run.transfer.requests / chunks),
      sentRatio: medianOf((run) => (run.creation.bodyBytes + run.transfer.bodyBytes) / bytes),
      idleResidentBytes: median(own.map((run) => run.idleResidentBytes)),
      peakResidentBytes: median(own.map((run) => run.peakResidentBytes)),
    };
  });
}

/** What this project holds itself to on S3. Ratios within one run. */
export function checkS3Gates(rows: S3Row[]): Gate[] {
  const gates: Gate[] = [];
  const atMost = (what: string, actual: number | undefined, limit: number) => {
    if (actual !== undefined) gates.push({ what, limit, isMinimum: false, actual, isMet: actual <= limit });
  };
  const row = (workload: S3WorkloadName) =>
    rows.find((candidate) => candidate.workload === workload && candidate.variant === LANDFALL_S3);
  atMost('S3, one big PATCH: CPU to stock', row('big')?.costToStock, CPU_LIMIT);
  atMost('S3, chunks of 5 MiB - 1: CPU to stock', row('chunks')?.costToStock, CPU_LIMIT);
  atMost(
    'S3, chunks of 5 MiB - 1: requests per chunk',
    row('chunks')?.requestsPerChunk,
    REQUESTS_PER_CHUNK_LIMIT,
  );
  return gates;
}

export function formatS3Rows(workload: S3Workload, rows: S3Row[]): string {
  const header = [
    workload.title,
    'CPU-s/GB',
    'CPU to stock',
    'MB/s',
    'S3 requests/upload',
    'requests/chunk',
    'sent/uploaded',
    'RSS MiB idle, peak',
  ];
  const lines = rows.map((row) => [
    row.variant,
    row.cost.toFixed(2),
    row.costToStock === undefined ? '-' : `${row.costToStock.toFixed(2)}x`,
    row.rate.toFixed(0),
    row.requestsPerUpload?.toFixed(1) ?? '-',
    row.requestsPerChunk?.toFixed(2) ?? '-',
    row.sentRatio === undefined ? '-' : `${row.sentRatio.toFixed(2)}x`,
    `${mebibytes(row.idleResidentBytes)}, ${mebibytes(row.peakResidentBytes)}`,
  ]);
  return formatTable(header, lines);
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(0);
}
