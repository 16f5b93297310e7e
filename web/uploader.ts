/**
 * `landfall/browser`: uploads files from a page. Each goes straight to the bucket where the server offers that and the
 * browser can, else (and whenever signing or CORS fails) by tus through the server.
 *
 * What it writes: localStorage entries `landfall:direct:…` and `tus::…`, one for each unfinished upload, by which a
 * later page goes on with the same file. Nothing else survives the page.
 */
import { createBrowserUpload, type ManagedUpload } from './uploader/browser-upload.ts';
import { createAskJson } from './uploader/http.ts';
import { createChunkPace, createParallelPace } from './uploader/pace.ts';
import { createResumeStore, type KeyValueStorage } from './uploader/resume-store.ts';
import { createRoute } from './uploader/route.ts';
import { createSlots } from './uploader/slots.ts';
import type { AddOptions, BrowserUpload, Uploader, UploaderOptions } from './uploader/types.ts';

export { UploadError, type UploadErrorCode } from './uploader/errors.ts';
export type { HeaderSource } from './uploader/http.ts';
export type { UploadWay } from './uploader/sending.ts';
export type {
  AddOptions,
  BrowserUpload,
  FinishedUpload,
  Uploader,
  UploaderOptions,
  UploadProgress,
  UploadStatus,
} from './uploader/types.ts';

const DEFAULT_RETRY_DELAYS_MS = [1000, 2000, 4000];
const MOST_PARTS = 50;

export function createUploader(options: UploaderOptions = {}): Uploader {
  const server = new URL(options.server ?? '/', location.href).href.replace(/\/$/, '');
  const { headers = {} } = options;
  const headerSource = typeof headers === 'function' ? headers : () => headers;
  const ask = createAskJson(headerSource);
  const initial = within(options.parts ?? 3, 1, MOST_PARTS);
  const parallel = createParallelPace({
    initial,
    max: within(options.maxParts ?? 6, initial, MOST_PARTS),
    isAdaptive: options.adaptive ?? true,
  });
  const slots = createSlots(initial);
  const route = createRoute({
    ask,
    server,
    headers: headerSource,
    tusEndpoint: options.endpoint,
    direct: options.direct ?? 'auto',
    kept: createResumeStore(options.storage ?? localStorageIfAllowed()),
    partBytes: options.partSize,
    retryDelaysMs: options.retryDelays ?? DEFAULT_RETRY_DELAYS_MS,
    chunkPace: createChunkPace({ downlinkMbps: downlink(), isAdaptive: options.adaptive ?? true }),
    slots,
    reports: options.reports ?? true,
    onSent(bytes) {
      parallel.sent(bytes, performance.now());
      slots.setLimit(parallel.limit());
    },
    onTrouble() {
      parallel.failed(performance.now());
      slots.setLimit(parallel.limit());
    },
  });

  const filesAtOnce = Math.max(1, options.files ?? 3);
  const listeners = new Set<() => void>();
  let uploads: readonly ManagedUpload[] = [];
  let isClosed = false;

  /** Starts the queued uploads that may run, those with the highest priority first. */
  const pump = () => {
    if (isClosed) return;
    let running = uploads.filter((upload) => upload.isRunning).length;
    const queued = uploads.filter(({ progress }) => progress.status === 'queued');
    for (const upload of queued.sort((a, b) => b.priority - a.priority)) {
      if (running >= filesAtOnce) return;
      running += 1;
      upload.start();
    }
  };
  const change = (changed: readonly ManagedUpload[]) => {
    uploads = changed;
    for (const listener of listeners) listener();
  };

  return {
    get uploads() {
      return uploads;
    },
    add(file: Blob, addOptions: AddOptions = {}): BrowserUpload {
      if (isClosed) throw new Error('this uploader was closed');
      const upload = createBrowserUpload(file, {
        route,
        server,
        checksum: options.checksum ?? false,
        ...addOptions,
        onTurnChange: pump,
      });
      change([...uploads, upload]);
      // A whole list is added before the first of it starts, so that priorities decide.
      queueMicrotask(pump);
      return upload;
    },
    pauseAll() {
      for (const upload of uploads) upload.pause();
    },
    resumeAll() {
      for (const upload of uploads) upload.resume();
    },
    remove(upload) {
      change(uploads.filter((other) => other !== upload));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      isClosed = true;
      for (const upload of uploads) upload.pause();
    },
  };
}

function within(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, Math.floor(value)));
}

/** Mbit/s as the browser guesses; Chromium alone tells. */
function downlink(): number | undefined {
  const { connection } = navigator as { connection?: { downlink?: number } };
  return connection?.downlink;
}

/** Merely reading it throws where storage is forbidden. */
function localStorageIfAllowed(): KeyValueStorage | undefined {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}
