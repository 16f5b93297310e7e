import { HttpFailure } from './uploader/errors.ts';
import { createAskJson, fieldsOf, type HeaderSource } from './uploader/http.ts';

/** What becomes of an upload after its last byte, as a page shows it. */
export interface DualQuality {
  /**
   * `loading`: nothing is known yet. `pending`: it is sent, verified or processed. `ready`: served, with whatever
   * previews there are. `failed`: rejected, deleted, expired, or not there.
   */
  readonly status: 'loading' | 'pending' | 'ready' | 'failed';
  /** The server's own word: `receiving`, `received`, `processing`, `ready`, `rejected`… */
  readonly state: string | undefined;
  readonly filename: string | undefined;
  readonly contentType: string | undefined;
  /** Of the image to show in place of the original (of a video or PDF: of its first picture). */
  readonly previewUrl: string | undefined;
  /** Of the small one. */
  readonly thumbnailUrl: string | undefined;
  /** thumbhash in base64, to be shown until the preview is there. */
  readonly placeholder: string | undefined;
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly originalUrl: string | undefined;
  /** Bytes. */
  readonly originalSize: number | undefined;
  readonly previewSize: number | undefined;
  /** Why there is no upload, or no preview. */
  readonly reason: string | undefined;
}

export interface DualQualityOptions {
  /** Where Landfall is. Default: the page's own origin. */
  server?: string;
  /** Of requests for the upload; where media need signed URLs, what allows to have them signed. */
  headers?: Record<string, string> | HeaderSource;
}

export interface UploadWatch {
  readonly current: DualQuality;
  subscribe(listener: () => void): () => void;
  close(): void;
}

export const LOADING: DualQuality = {
  status: 'loading',
  state: undefined,
  filename: undefined,
  contentType: undefined,
  previewUrl: undefined,
  thumbnailUrl: undefined,
  placeholder: undefined,
  width: undefined,
  height: undefined,
  originalUrl: undefined,
  originalSize: undefined,
  previewSize: undefined,
  reason: undefined,
};

const PENDING = new Set(['receiving', 'received', 'processing']);
/** All but `progress`, after which nothing else would look different. */
const NEWS = [
  'state',
  'received',
  'verified',
  'preview',
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
  'reset',
];
const RETRY_MS = 5_000;
/** Where there are no events (a proxy that does not let them through). */
const POLL_MS = 2_000;

/** Follows one upload by its events (SSE), until nothing more happens to it. */
export function watchUpload(id: string, options: DualQualityOptions = {}): UploadWatch {
  const server = new URL(options.server ?? '/', location.href).href.replace(/\/$/, '');
  const { headers = {} } = options;
  const ask = createAskJson(typeof headers === 'function' ? headers : () => headers);
  const address = `${server}/uploads/${encodeURIComponent(id)}`;
  const closed = new AbortController();
  const listeners = new Set<() => void>();
  let current = LOADING;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isAsking = false;
  let isAskedAgain = false;

  const change = (next: DualQuality) => {
    current = next;
    for (const listener of listeners) listener();
  };

  /** One question at a time; what happens meanwhile is asked for once more. */
  const refresh = async () => {
    if (isAsking) {
      isAskedAgain = true;
      return;
    }
    isAsking = true;
    clearTimeout(timer);
    try {
      const shown = fieldsOf(await ask(address, { signal: closed.signal }));
      change(describe(shown, server));
      if (current.status !== 'pending') events.close();
      else if (events.readyState === EventSource.CLOSED) timer = setTimeout(refresh, POLL_MS);
      renewLater(fieldsOf(shown.media).urlsExpireAt);
    } catch (error) {
      if (closed.signal.aborted) return;
      if (
        error instanceof HttpFailure &&
        error.status < 500 &&
        error.status !== 423 &&
        error.status !== 429
      ) {
        events.close();
        change({ ...current, status: 'failed', reason: error.message });
      } else {
        timer = setTimeout(refresh, RETRY_MS);
      }
    } finally {
      isAsking = false;
      if (isAskedAgain && !closed.signal.aborted) {
        isAskedAgain = false;
        void refresh();
      }
    }
  };
  /** Signed URLs are asked for anew before they end. */
  const renewLater = (expiresAt: unknown) => {
    if (typeof expiresAt !== 'string' || closed.signal.aborted) return;
    const leftMs = Date.parse(expiresAt) - Date.now();
    timer = setTimeout(refresh, Math.max(RETRY_MS, leftMs * 0.8));
  };

  const events = new EventSource(`${address}/events`);
  for (const type of NEWS) events.addEventListener(type, () => void refresh());
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED && !closed.signal.aborted) void refresh();
  });
  void refresh();

  return {
    get current() {
      return current;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      closed.abort();
      clearTimeout(timer);
      events.close();
    },
  };
}

/** From `GET /uploads/:id`. */
function describe(shown: Record<string, unknown>, server: string): DualQuality {
  const media = fieldsOf(shown.media);
  const previews = (Array.isArray(media.previews) ? media.previews : []).map(fieldsOf);
  const find = (...variants: string[]) =>
    variants.map((variant) => previews.find((preview) => preview.variant === variant)).find(Boolean);
  const at = (url: unknown) =>
    typeof url === 'string' ? (url.startsWith('/') ? server + url : url) : undefined;
  const preview = find('preview', 'poster', 'page');
  // A video's own preview is no picture.
  const picture = String(preview?.contentType).startsWith('image/')
    ? preview
    : (find('poster', 'page') ?? preview);
  const state = text(shown.state);
  const isServed = state === 'ready' || state === 'failed';
  return {
    status: isServed ? 'ready' : PENDING.has(state ?? '') ? 'pending' : 'failed',
    state,
    filename: text(shown.filename),
    contentType: text(media.type) ?? text(shown.contentType),
    previewUrl: at(picture?.url),
    thumbnailUrl: at(find('thumb')?.url ?? picture?.url),
    placeholder: text(media.placeholder),
    width: number(media.width),
    height: number(media.height),
    originalUrl: isServed ? at(media.originalUrl ?? shown.url) : undefined,
    originalSize: number(shown.size),
    previewSize: number(picture?.size),
    reason: text(fieldsOf(shown.reason).message) ?? text(fieldsOf(media.missing).message),
  };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
