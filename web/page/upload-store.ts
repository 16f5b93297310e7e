import type { ShownUpload } from '../../client/shown-upload.ts';
import type { UploadStatus } from '../uploader.ts';

/** What this page itself knows about an upload that it is sending. */
export interface LocalProgress {
  sentBytes: number;
  bytesPerSecond: number;
  status: UploadStatus;
}

export interface ListedUpload {
  shown: ShownUpload;
  local: LocalProgress | undefined;
  /** Bytes per second by the server's events, of the last seconds. */
  serverSpeed: number;
}

/** The uploads that the page shows: what it read, what events told since, and what it sends itself. */
export interface UploadStore {
  /** Newest first, without partial ones: those are somebody's pieces. */
  list(): ListedUpload[];
  /** What the server says now; wins over everything older. */
  put(shown: ShownUpload): void;
  /** So much of an upload is there. */
  progress(id: string, offset: number, size: number | undefined): void;
  local(id: string, progress: LocalProgress | undefined): void;
  remove(id: string): void;
  has(id: string): boolean;
  /** Bytes that have arrived since the page was opened, however they came. */
  arrivedBytes(): number;
  subscribe(listener: () => void): () => void;
}

/** A page that is open for weeks shows the newest ones. */
const MOST_UPLOADS = 1000;
/** A speed is forgotten when nothing came for this long. */
const SPEED_WINDOW_MS = 5_000;

export function createUploadStore(nowMs: () => number = () => performance.now()): UploadStore {
  const uploads = new Map<string, ListedUpload>();
  /** The most bytes of each that were counted. */
  const counted = new Map<string, number>();
  const samples = new Map<string, { atMs: number; offset: number }[]>();
  const listeners = new Set<() => void>();
  let arrived = 0;
  let isTelling = false;

  /** Many events come at once: listeners hear of them together, before the next frame. */
  const tell = () => {
    if (isTelling) return;
    isTelling = true;
    queueMicrotask(() => {
      isTelling = false;
      for (const listener of listeners) listener();
    });
  };
  const arrivedAt = (upload: ListedUpload) => Math.max(upload.shown.offset, upload.local?.sentBytes ?? 0);
  const change = (id: string, upload: ListedUpload) => {
    const bytes = arrivedAt(upload);
    // What was there when the page first heard of it came earlier; what is sent again came before.
    const most = counted.get(id) ?? bytes;
    arrived += Math.max(0, bytes - most);
    counted.set(id, Math.max(bytes, most));
    uploads.set(id, upload);
    tell();
  };
  const speedOf = (id: string, offset: number): number => {
    const atMs = nowMs();
    const known = (samples.get(id) ?? []).filter((sample) => atMs - sample.atMs < SPEED_WINDOW_MS);
    samples.set(id, [...known, { atMs, offset }]);
    const [first] = known;
    if (first === undefined || atMs === first.atMs || offset < first.offset) return 0;
    return ((offset - first.offset) / (atMs - first.atMs)) * 1000;
  };

  const remove = (id: string) => {
    uploads.delete(id);
    samples.delete(id);
    counted.delete(id);
    tell();
  };
  const dropOldest = () => {
    const [first, ...others] = uploads.values();
    const oldest = others.reduce(
      (older, upload) => (upload.shown.createdAt < (older?.shown.createdAt ?? '') ? upload : older),
      first,
    );
    if (oldest !== undefined) remove(oldest.shown.id);
  };

  return {
    list: () =>
      [...uploads.values()]
        .filter(({ shown }) => !shown.partial)
        .sort((a, b) => b.shown.createdAt.localeCompare(a.shown.createdAt)),
    put(shown) {
      const before = uploads.get(shown.id);
      const isDone = shown.state !== 'receiving';
      if (isDone) samples.delete(shown.id);
      const offset = isDone ? shown.offset : Math.max(shown.offset, before?.shown.offset ?? 0);
      change(shown.id, {
        shown: { ...shown, offset },
        local: isDone ? undefined : before?.local,
        serverSpeed: isDone ? 0 : (before?.serverSpeed ?? 0),
      });
      if (uploads.size > MOST_UPLOADS) dropOldest();
    },
    progress(id, offset, size) {
      const before = uploads.get(id);
      if (before === undefined || before.shown.state !== 'receiving') return;
      const shown = { ...before.shown, offset, ...(size === undefined ? {} : { size }) };
      change(id, { ...before, shown, serverSpeed: speedOf(id, offset) });
    },
    local(id, progress) {
      const before = uploads.get(id);
      if (before !== undefined && before.shown.state === 'receiving') {
        change(id, { ...before, local: progress });
      }
    },
    remove,
    has: (id) => uploads.has(id),
    arrivedBytes: () => arrived,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
