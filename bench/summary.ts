import type { Run } from './measure.ts';
import { RAW, STOCK } from './variants.ts';
import type { Workload, WorkloadName } from './workloads.ts';

/** One line of a table: medians over the rounds. */
export interface Row {
  workload: WorkloadName;
  variant: string;
  /** CPU seconds per 10^9 bytes, or CPU microseconds per upload. */
  cost: number;
  /** 10^6 bytes, or uploads, per second. */
  rate: number;
  peakResidentBytes: number;
  /** Median of the ratios within each round, not ratio of medians: a noisy minute hits a whole round. */
  costToRaw: number | undefined;
  costToStock: number | undefined;
  rateToStock: number | undefined;
}

export function summarize(workload: Workload, runs: Run[]): Row[] {
  const ofWorkload = runs.filter((run) => run.workload === workload.name);
  const variants = [...new Set(ofWorkload.map((run) => run.variant))];
  const isBytes = workload.unit === 'bytes';
  const cost = (run: Run) => (run.cpuSeconds / workload.amount) * (isBytes ? 1e9 : 1e6);
  const rate = (run: Run) => workload.amount / run.seconds / (isBytes ? 1e6 : 1);

  return variants.map((variant) => {
    const own = ofWorkload.filter((run) => run.variant === variant);
    const ratioTo = (other: string, of: (run: Run) => number) => {
      const ratios = own.flatMap((run) => {
        const reference = ofWorkload.find((that) => that.variant === other && that.round === run.round);
        return reference === undefined ? [] : [of(run) / of(reference)];
      });
      return ratios.length === 0 ? undefined : median(ratios);
    };
    return {
      workload: workload.name,
      variant,
      cost: median(own.map(cost)),
      rate: median(own.map(rate)),
      peakResidentBytes: median(own.map((run) => run.peakResidentBytes)),
      costToRaw: ratioTo(RAW, cost),
      costToStock: ratioTo(STOCK, cost),
      rateToStock: ratioTo(STOCK, rate),
    };
  });
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}
