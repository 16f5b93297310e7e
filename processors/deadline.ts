import { ProcessorError } from './types.ts';

/** The end of one file's time. Always `clear()` it. */
export interface Deadline {
  /** Aborts with the caller's reason, or with a ProcessorError `timeout` when the time is over. */
  signal: AbortSignal;
  leftMs(): number;
  clear(): void;
}

/** Of its time: what there is has to be handed over before somebody ends the whole process. */
const SHARE = 0.9;

export function startDeadline(timeMs: number, signal: AbortSignal): Deadline {
  const endsAt = performance.now() + timeMs * SHARE;
  const leftMs = () => Math.max(1, Math.floor(endsAt - performance.now()));
  const timeout = new AbortController();
  const timer = setTimeout(
    () => timeout.abort(new ProcessorError('timeout', 'It took longer than it may.')),
    leftMs(),
  );
  return {
    signal: AbortSignal.any([signal, timeout.signal]),
    leftMs,
    clear: () => clearTimeout(timer),
  };
}
