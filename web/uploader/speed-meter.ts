/** Speeds of the last seconds count; older ones have been forgotten. */
const WINDOW_MS = 8_000;

export interface SpeedMeter {
  /** So many bytes have been sent by now, in total. Fewer than before: something has to be sent again. */
  record(sentBytes: number, nowMs: number): void;
  /** Bytes per second over the last seconds; 0 while nothing is known. */
  bytesPerSecond(nowMs: number): number;
  /** Forgets what was measured: the upload paused. */
  reset(): void;
}

export function createSpeedMeter(): SpeedMeter {
  let samples: { atMs: number; bytes: number }[] = [];
  return {
    record(bytes, atMs) {
      const last = samples.at(-1);
      // What was sent in vain counts for no speed.
      if (last !== undefined && bytes < last.bytes) samples = samples.map((sample) => ({ ...sample, bytes }));
      samples.push({ atMs, bytes });
      while (samples.length > 2 && atMs - (samples[0]?.atMs ?? atMs) > WINDOW_MS) samples.shift();
    },
    bytesPerSecond(nowMs) {
      const [first] = samples;
      const last = samples.at(-1);
      if (first === undefined || last === undefined || first === last) return 0;
      // Nothing for a while is slow, too: the time goes on until now.
      const seconds = Math.max(nowMs, last.atMs) - first.atMs;
      return seconds <= 0 ? 0 : ((last.bytes - first.bytes) / seconds) * 1000;
    },
    reset() {
      samples = [];
    },
  };
}
