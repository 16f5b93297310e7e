/** How far a transfer has come. */
export interface TransferProgress {
  /** Bytes that are there or on their way. Goes back when a connection broke and some were lost on the way. */
  bytes: number;
  /** Undefined: not known yet. */
  totalBytes: number | undefined;
  /** Over the last seconds, this run's bytes only; 0 while nothing moves. */
  bytesPerSecond: number;
  /** Undefined: cannot be said. */
  remainingMs: number | undefined;
}

const REPORT_EVERY_MS = 100;
const WINDOW_MS = 5_000;
const SAMPLE_EVERY_MS = 250;

/** Counts a transfer's bytes, and tells about them ten times a second at most. */
export interface ProgressMeter {
  /** So many more bytes are on their way (or, when negative, were lost on it). */
  add(bytes: number): void;
  /** Bytes that were there before this run: they count as done, and not as speed. */
  skip(bytes: number): void;
  setTotal(totalBytes: number | undefined): void;
  /** Tells once more. */
  finish(): void;
  readonly progress: TransferProgress;
  /** Bytes of this run, those that were lost on the way among them. */
  readonly sentBytes: number;
  /** Of this run, from its start to its last byte; 0: nothing was moved. */
  readonly averageBytesPerSecond: number;
}

export function createProgressMeter(
  totalBytes: number | undefined,
  onProgress: ((progress: TransferProgress) => void) | undefined,
): ProgressMeter {
  let bytes = 0;
  let sentBytes = 0;
  let total = totalBytes;
  const startedAtMs = performance.now();
  let lastByteAtMs = startedAtMs;
  let reportedAtMs = Number.NEGATIVE_INFINITY;
  /** When how many had been sent, oldest first. */
  const samples = [{ atMs: performance.now(), sentBytes: 0 }];

  function speed(): number {
    const nowMs = performance.now();
    while (samples.length > 1 && (samples[1]?.atMs ?? nowMs) < nowMs - WINDOW_MS) samples.shift();
    const oldest = samples[0] as (typeof samples)[number];
    const elapsedMs = nowMs - oldest.atMs;
    return elapsedMs <= 0 ? 0 : Math.round(((sentBytes - oldest.sentBytes) / elapsedMs) * 1000);
  }

  function report(): void {
    const nowMs = performance.now();
    if (nowMs - reportedAtMs < REPORT_EVERY_MS) return;
    reportedAtMs = nowMs;
    onProgress?.(meter.progress);
  }

  const meter: ProgressMeter = {
    add(count) {
      bytes += count;
      if (count > 0) {
        sentBytes += count;
        const nowMs = performance.now();
        lastByteAtMs = nowMs;
        if (nowMs - (samples.at(-1)?.atMs ?? 0) >= SAMPLE_EVERY_MS) samples.push({ atMs: nowMs, sentBytes });
      }
      report();
    },
    skip(count) {
      bytes += count;
      report();
    },
    setTotal(count) {
      total = count;
    },
    finish() {
      onProgress?.(meter.progress);
    },
    get progress() {
      const bytesPerSecond = speed();
      const left = total === undefined ? undefined : Math.max(0, total - bytes);
      const remainingMs =
        left === 0
          ? 0
          : left === undefined || bytesPerSecond === 0
            ? undefined
            : (left / bytesPerSecond) * 1000;
      return { bytes, totalBytes: total, bytesPerSecond, remainingMs };
    },
    get sentBytes() {
      return sentBytes;
    },
    get averageBytesPerSecond() {
      return Math.round((sentBytes / Math.max(1, lastByteAtMs - startedAtMs)) * 1000);
    },
  };
  return meter;
}
