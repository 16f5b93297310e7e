import type { PipelineSweep } from '../pipeline/sweep.ts';
import { createReconciliation } from './reconcile.ts';
import { createSweep, type SweepCounts } from './sweep.ts';
import { createUnattendedUploads, type UnattendedUploadsOptions } from './unattended-uploads.ts';

/** A process that dies while it reconciles holds others up for this long. */
const RECONCILE_CLAIM_MS = 10 * 60 * 1000;
/** The catalog is compared with the store at least this often, whatever seems to be right. */
const RECONCILE_INTERVAL_MS = 24 * 3600 * 1000;

export interface SweeperOptions extends Omit<UnattendedUploadsOptions, 'now' | 'signal'> {
  pipelineSweep: PipelineSweep;
  /** Other processes may be at work on what this one finds waiting when it starts. */
  isShared: boolean;
  intervalMs: number;
  now?: () => number;
}

export interface Sweeper {
  /** Sweeps now and at every interval; reconciles first where that is due. Returns at once. */
  start(): void;
  /** Brings the catalog in line with the store: rows that were lost, finishes that were interrupted. */
  reconcile(): Promise<void>;
  /** Reconciles in the background, after what runs there now. */
  reconcileSoon(): void;
  /** Removes expired uploads, finishes full ones, forgets old tombstones. */
  sweep(): Promise<SweepCounts>;
  close(): Promise<void>;
}

/** When uploads that no request comes for are looked after, and by which of the processes that share them. */
export function createSweeper(options: SweeperOptions): Sweeper {
  const { catalog, pipelineSweep, log, intervalMs } = options;
  const stop = new AbortController();
  const parts = { ...options, now: options.now ?? Date.now, signal: stop.signal };
  const unattended = createUnattendedUploads(parts);
  const sweep = createSweep({ ...parts, unattended });
  const runReconciliation = createReconciliation({ ...parts, unattended });
  let running: Promise<unknown> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  function reconcile(): Promise<void> {
    return runReconciliation(() => catalog.extendClaim('reconcile', RECONCILE_CLAIM_MS));
  }

  function inBackground(task: () => Promise<unknown>, name: string): void {
    if (stop.signal.aborted) return;
    running = running.then(task).catch((error: unknown) => log.error({ error }, `${name} failed`));
  }

  /** Of all processes one at a time, and one a day; at once when the catalog was lost, and the claim with it. */
  async function reconcileIfDue(): Promise<void> {
    if (!(await catalog.claim('reconcile', RECONCILE_CLAIM_MS))) return;
    let isDone = false;
    try {
      await reconcile();
      isDone = !stop.signal.aborted;
    } finally {
      await catalog.extendClaim('reconcile', isDone ? RECONCILE_INTERVAL_MS : 0);
    }
  }

  async function sweepIfDue(): Promise<void> {
    // A little less than the interval: timers of several processes drift against each other.
    if (await catalog.claim('sweep', intervalMs * 0.9)) await sweep();
  }

  function turn(): void {
    inBackground(reconcileIfDue, 'reconciliation');
    inBackground(sweepIfDue, 'sweep');
  }

  return {
    start() {
      // Not by a claim: what this process was killed over waits for it, and submitting twice does no harm.
      const takeUpLost = () => pipelineSweep.takeUpLost(stop.signal, !options.isShared);
      inBackground(takeUpLost, 'taking up lost work');
      turn();
      timer = setInterval(turn, intervalMs);
      timer.unref();
    },
    reconcile,
    reconcileSoon() {
      inBackground(async () => {
        await catalog.extendClaim('reconcile', 0);
        await reconcileIfDue();
      }, 'reconciliation');
    },
    sweep,
    async close() {
      stop.abort();
      clearInterval(timer);
      await running;
    },
  };
}
