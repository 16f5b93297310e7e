import { digestOf } from './digest.ts';
import { toUploadError, UploadError } from './errors.ts';
import { fingerprintOf } from './fingerprint.ts';
import { isOnline } from './online.ts';
import type { Route } from './route.ts';
import { createRetrying, type Sending, type StartedSending } from './sending.ts';
import { createSpeedMeter } from './speed-meter.ts';
import type { AddOptions, BrowserUpload, FinishedUpload, UploadProgress, UploadStatus } from './types.ts';

export interface BrowserUploadOptions extends AddOptions {
  route: Route;
  server: string;
  checksum: boolean;
  /** This one waits for its turn now, or has given it back. */
  onTurnChange: () => void;
}

/** An upload as the uploader that owns it sees it. */
export interface ManagedUpload extends BrowserUpload {
  readonly priority: number;
  readonly isRunning: boolean;
  start(): void;
}

/** Listeners hear of progress at most this often, and of a speed that falls while nothing moves. */
const PROGRESS_MS = 100;
const REFRESH_MS = 1000;

export function createBrowserUpload(file: Blob, options: BrowserUploadOptions): ManagedUpload {
  const { route, onTurnChange } = options;
  const name = options.name ?? (file instanceof File ? file.name : 'unnamed');
  const type = options.type ?? (file.type || 'application/octet-stream');
  const fingerprint = options.fingerprint ?? fingerprintOf(file, name, options.server);
  const listeners = new Set<() => void>();
  const meter = createSpeedMeter();
  const finished = Promise.withResolvers<FinishedUpload>();
  finished.promise.catch(() => {}); // who does not wait for it reads `progress`

  let priority = options.priority ?? 0;
  let progress: UploadProgress = {
    status: 'queued',
    way: undefined,
    id: undefined,
    sentBytes: 0,
    totalBytes: file.size,
    bytesPerSecond: 0,
    secondsLeft: undefined,
    retries: 0,
    isResumed: false,
    url: undefined,
    sha256: undefined,
    error: undefined,
  };
  let controller = new AbortController();
  /** The last attempt, which has to end before the next one begins: both would send the same parts. */
  let attempt: Promise<void> = Promise.resolve();
  let discard: StartedSending['discard'] | undefined;
  let digest: Promise<string> | undefined;
  let progressTimer: ReturnType<typeof setTimeout> | undefined;

  const tell = () => {
    clearTimeout(progressTimer);
    progressTimer = undefined;
    for (const listener of listeners) listener();
  };
  const change = (changes: Partial<UploadProgress>) => {
    progress = { ...progress, ...changes };
    tell();
  };
  const isRunning = () => progress.status === 'uploading' || progress.status === 'offline';
  const measure = () => {
    const bytesPerSecond = meter.bytesPerSecond(performance.now());
    const left = progress.totalBytes - progress.sentBytes;
    return { bytesPerSecond, secondsLeft: bytesPerSecond > 0 ? left / bytesPerSecond : undefined };
  };
  /** Ends what runs; the upload has left the states in which it does. */
  const stopAs = (status: UploadStatus, error?: UploadError) => {
    controller.abort(new DOMException(`The upload is ${status}.`, 'AbortError'));
    meter.reset();
    change({ status, error, bytesPerSecond: 0, secondsLeft: undefined });
  };

  const onSent = (sentBytes: number) => {
    const more = sentBytes - progress.sentBytes;
    if (more > 0) route.onSent(more);
    meter.record(sentBytes, performance.now());
    progress = { ...progress, sentBytes };
    progressTimer ??= setTimeout(() => change(measure()), PROGRESS_MS);
  };
  const onRetry = () => {
    route.onTrouble();
    change({ retries: progress.retries + 1 });
  };

  function newSending(signal: AbortSignal): Sending {
    const wantsDigest = options.checksum;
    if (wantsDigest) digest ??= digestOf(file, cancelled.signal);
    digest?.catch(() => {
      digest = undefined; // asked for again by the next attempt
    });
    return {
      file,
      name,
      type,
      metadata: options.metadata ?? {},
      fingerprint,
      signal,
      digest: wantsDigest ? () => digest ?? digestOf(file, cancelled.signal) : undefined,
      takeSlot: (slotSignal) => route.slots.take(() => priority, slotSignal),
      onStarted(start) {
        discard = start.discard;
        change({ way: start.way, id: start.id, isResumed: progress.isResumed || start.isResumed });
      },
      onProgress: onSent,
      onRetry,
      retries: () => progress.retries,
      ...createRetrying({ delaysMs: route.retryDelaysMs, signal, onRetry }),
    };
  }
  const cancelled = new AbortController();

  async function run(signal: AbortSignal): Promise<void> {
    const refresh = setInterval(() => change(measure()), REFRESH_MS);
    const onNetworkChange = () => change({ status: isOnline() ? 'uploading' : 'offline' });
    addEventListener('online', onNetworkChange);
    addEventListener('offline', onNetworkChange);
    onNetworkChange();
    try {
      const { id, url, way, sha256 } = await route.send(newSending(signal));
      signal.throwIfAborted();
      change({ status: 'done', id, url, way, sha256, sentBytes: file.size, secondsLeft: 0 });
      finished.resolve({ id, url, way, sha256 });
    } catch (error) {
      if (!signal.aborted) {
        const uploadError = toUploadError(error);
        stopAs('failed', uploadError);
        finished.reject(uploadError);
      }
    } finally {
      clearInterval(refresh);
      removeEventListener('online', onNetworkChange);
      removeEventListener('offline', onNetworkChange);
    }
  }

  return {
    file,
    name,
    finished: finished.promise,
    get progress() {
      return progress;
    },
    get priority() {
      return priority;
    },
    get isRunning() {
      return isRunning();
    },
    start() {
      const own = new AbortController();
      const before = attempt;
      controller = own;
      change({ status: 'uploading', error: undefined });
      attempt = (async () => {
        await before;
        if (!own.signal.aborted) await run(own.signal);
        onTurnChange();
      })();
    },
    pause() {
      if (!isRunning() && progress.status !== 'queued') return;
      stopAs('paused');
      onTurnChange();
    },
    resume() {
      if (progress.status !== 'paused') return;
      change({ status: 'queued' });
      onTurnChange();
    },
    retry() {
      if (progress.status !== 'failed') return;
      change({ status: 'queued', error: undefined });
      onTurnChange();
    },
    cancel() {
      if (progress.status === 'done' || progress.status === 'cancelled') return;
      const error = new UploadError('cancelled', 'The upload was cancelled.');
      cancelled.abort(error);
      stopAs('cancelled', error);
      finished.reject(error);
      // After the last request was aborted: the server would find it at work on this upload.
      void attempt.then(() => discard?.()).catch(() => {});
      onTurnChange();
    },
    setPriority(newPriority) {
      priority = newPriority;
      onTurnChange();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
