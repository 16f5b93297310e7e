import { isPassing } from './errors.ts';
import { isOnline, whenOnline } from './online.ts';
import { jittered, sleep } from './wait.ts';

export type UploadWay = 'direct' | 'tus';

/** One attempt to send one file, as both ways of sending see it. */
export interface Sending {
  readonly file: Blob;
  readonly name: string;
  readonly type: string;
  readonly metadata: Record<string, string>;
  /** Says which file this is, across page loads. */
  readonly fingerprint: string;
  /** Aborted by pause, cancel and the end of the uploader. */
  readonly signal: AbortSignal;
  /** The SHA-256 as hex, once it is known; undefined where nobody asked for it. */
  readonly digest: (() => Promise<string>) | undefined;
  /** A place among all requests that may run at once; resolves with what gives it back. */
  takeSlot(signal: AbortSignal): Promise<() => void>;
  /** The upload exists at the server: from now on it can be told about, and discarded there. */
  onStarted(start: StartedSending): void;
  onProgress(sentBytes: number): void;
  /**
   * How long to wait before it is tried again: undefined when it is not to be. A failure without a network does not
   * count as an attempt.
   */
  delayAfter(attempt: number, mayHelp: boolean): { ms: number; counts: boolean } | undefined;
  /** Tries a request again as long as that may help. */
  retrying<T>(action: () => Promise<T>): Promise<T>;
  /** Something is tried again, for a reason that is not the file's. */
  onRetry(): void;
  /** How often that was, since the beginning. */
  retries(): number;
}

export interface StartedSending {
  way: UploadWay;
  /** Landfall's id of it. */
  id: string;
  isResumed: boolean;
  /** Removes what arrived from the server, for a file that nobody wants to send any more. */
  discard: () => Promise<void>;
}

export interface SentUpload {
  /** Address of the upload. */
  url: string;
  /** Landfall's id of it. */
  id: string;
  sha256: string | undefined;
}

export interface RetryOptions {
  /** Milliseconds before the second, third… attempt; so many more attempts there are. */
  delaysMs: readonly number[];
  signal: AbortSignal;
  onRetry: () => void;
}

/** The rules by which everything here is tried again. */
export function createRetrying({
  delaysMs,
  signal,
  onRetry,
}: RetryOptions): Pick<Sending, 'delayAfter' | 'retrying'> {
  const delayAfter: Sending['delayAfter'] = (attempt, mayHelp) => {
    if (!mayHelp) return undefined;
    if (!isOnline()) return { ms: 0, counts: false };
    const ms = delaysMs[attempt];
    if (ms === undefined) return undefined;
    onRetry();
    return { ms, counts: true };
  };
  return {
    delayAfter,
    async retrying(action) {
      for (let attempt = 0; ; ) {
        await whenOnline(signal);
        try {
          return await action();
        } catch (error) {
          signal.throwIfAborted();
          const delay = delayAfter(attempt, isPassing(error));
          if (delay === undefined) throw error;
          attempt += delay.counts ? 1 : 0;
          await sleep(jittered(delay.ms), signal);
        }
      }
    },
  };
}
