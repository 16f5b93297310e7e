const KIB = 1024;
const MIB = 1024 * KIB;

const MIN_CHUNK_BYTES = 256 * KIB;
const MAX_CHUNK_BYTES = 64 * MIB;
const FIRST_CHUNK_BYTES = 4 * MIB;
const SLOW_FIRST_CHUNK_BYTES = 512 * KIB;
/** A request shall take about this long: much shorter ones wait more than they send, much longer ones lose more. */
const CHUNK_SECONDS = 5;

/** How much one tus request carries, by what the network did with the last ones. */
export interface ChunkPace {
  bytes(): number;
  /** A request with so many bytes took so long. */
  sent(bytes: number, ms: number): void;
  failed(): void;
}

export interface ChunkPaceOptions {
  /** Mbit/s, as the browser guesses them; undefined: it does not tell. */
  downlinkMbps: number | undefined;
  /** False: always the same. */
  isAdaptive: boolean;
}

/** Twice as much as before at most, and half as much after a failure. */
export function createChunkPace({ downlinkMbps, isAdaptive }: ChunkPaceOptions): ChunkPace {
  let bytes = downlinkMbps !== undefined && downlinkMbps < 2 ? SLOW_FIRST_CHUNK_BYTES : FIRST_CHUNK_BYTES;
  return {
    bytes: () => bytes,
    sent(sentBytes, ms) {
      // The last request of a file is as short as it is, and says little.
      if (!isAdaptive || sentBytes < bytes / 2) return;
      const wanted = (sentBytes / Math.max(1, ms)) * 1000 * CHUNK_SECONDS;
      bytes = clamp(Math.min(wanted, bytes * 2), MIN_CHUNK_BYTES, MAX_CHUNK_BYTES);
    },
    failed() {
      if (isAdaptive) bytes = clamp(bytes / 2, MIN_CHUNK_BYTES, MAX_CHUNK_BYTES);
    },
  };
}

/** How many requests run at once, by what the last change of it brought. */
export interface ParallelPace {
  limit(): number;
  /** Bytes that left, whatever request they belong to. */
  sent(bytes: number, nowMs: number): void;
  /** A request failed that was none of the file's fault. */
  failed(nowMs: number): void;
}

export interface ParallelPaceOptions {
  initial: number;
  max: number;
  /** False: `initial` for ever. */
  isAdaptive: boolean;
}

const PERIOD_MS = 2_000;
/** Less than this is the network's own unrest. */
const NOTABLE = 1.1;
/** A network does not stay as it is: every so many periods it is asked again. */
const PERIODS_AT_REST = 10;

/**
 * Goes one up as long as that makes the whole faster by a tenth, one back where it did not, half after failures.
 */
export function createParallelPace({ initial, max, isAdaptive }: ParallelPaceOptions): ParallelPace {
  let limit = initial;
  let periodBytes = 0;
  let periodStartMs: number | undefined;
  let rest = 0;
  let lastFailureMs: number | undefined;
  /** The speed before the last step up, while that step has to prove itself. */
  let speedBeforeStep: number | undefined;

  const endPeriod = (seconds: number) => {
    const speed = periodBytes / seconds;
    if (rest > 0) {
      rest -= 1;
      return;
    }
    if (speedBeforeStep !== undefined && speed < speedBeforeStep * NOTABLE) {
      limit = Math.max(1, limit - 1);
      speedBeforeStep = undefined;
      rest = PERIODS_AT_REST;
      return;
    }
    speedBeforeStep = limit < max ? speed : undefined;
    limit = Math.min(max, limit + 1);
  };

  return {
    limit: () => limit,
    sent(bytes, nowMs) {
      if (!isAdaptive) return;
      periodStartMs ??= nowMs;
      periodBytes += bytes;
      const elapsedMs = nowMs - periodStartMs;
      if (elapsedMs < PERIOD_MS) return;
      // A pause is no period: only what was sent without one is compared.
      if (elapsedMs < 2 * PERIOD_MS) endPeriod(elapsedMs / 1000);
      else speedBeforeStep = undefined;
      periodBytes = 0;
      periodStartMs = nowMs;
    },
    failed(nowMs) {
      if (!isAdaptive) return;
      // Requests that run at once fail at once: that is one failure.
      if (lastFailureMs !== undefined && nowMs - lastFailureMs < PERIOD_MS) return;
      lastFailureMs = nowMs;
      limit = Math.max(1, Math.floor(limit / 2));
      speedBeforeStep = undefined;
      rest = PERIODS_AT_REST;
      periodBytes = 0;
      periodStartMs = nowMs;
    },
  };
}

function clamp(value: number, min: number, max: number): number {
  return Math.round(Math.min(max, Math.max(min, value)));
}
