import type { ShownUpload } from '../../client/shown-upload.ts';
import { HttpFailure } from '../uploader/errors.ts';
import { sleep } from '../uploader/wait.ts';
import { type Api, dataOf } from './api.ts';
import type { StreamEvent } from './event-stream.ts';
import type { UploadStore } from './upload-store.ts';

/**
 * `live`: every upload, as events come. `lost`: the server cannot be reached, it is tried again. `token`: the operator
 * API needs one, or another one. `own`: no operator API for this page: it shows what it sends itself.
 */
export type FeedState = 'connecting' | 'live' | 'lost' | 'token' | 'own';

export interface Feed {
  /** Asks again, with a token that is known by now. */
  restart(): void;
  /** Shows this upload, which the page sends, also where it may not list any. */
  follow(id: string): void;
  /** The next page of older uploads; false: there is none. */
  more(): Promise<boolean>;
}

export interface FeedOptions {
  api: Api;
  store: UploadStore;
  onState: (state: FeedState) => void;
  onMore: (hasMore: boolean) => void;
  /** An upload became ready after so many milliseconds of work. */
  onProcessed: (ms: number) => void;
}

const PAGE = 30;
/** So many are asked for one by one; more of them as a list. */
const MOST_REFRESHED = 20;
const MOST_LISTED = 500;
const REFRESH_MS = 150;
const RETRY_MS = [1000, 2000, 5000, 10_000];
const POLL_MS = 1500;
const RUNNING = new Set(['receiving', 'received', 'processing']);

/** Fills the store: by the list and the stream of events where the operator API answers, else by asking for our own. */
export function startFeed({ api, store, onState, onMore, onProcessed }: FeedOptions): Feed {
  let controller = new AbortController();
  let lastId: string | undefined;
  let cursor: string | null = null;
  let isOwn = false;
  const own = new Set<string>();
  const asked = new Map<string, Promise<void>>();

  const tellProcessed = (shown: ShownUpload, before: ShownUpload | undefined) => {
    const processedMs = shown.media?.processing?.durationMs;
    if (processedMs !== undefined && before?.media?.processing == null) onProcessed(processedMs);
  };

  /** What the server says of this upload now; asked once at a time, and once more for what came meanwhile. */
  const refresh = (id: string): Promise<void> => {
    const running = asked.get(id);
    const next = (running ?? Promise.resolve()).then(async () => {
      try {
        const shown = await api.show(id);
        const before = store.list().find((upload) => upload.shown.id === id)?.shown;
        store.put(shown);
        tellProcessed(shown, before);
      } catch (error) {
        if (error instanceof HttpFailure && (error.status === 404 || error.status === 410)) store.remove(id);
      }
    });
    asked.set(id, next);
    return next.finally(() => {
      if (asked.get(id) === next) asked.delete(id);
    });
  };

  /** A thousand small uploads a second are some questions a second, not thousands. */
  const changed = new Set<string>();
  const refreshSoon = (id: string) => {
    if (changed.size === 0) setTimeout(refreshChanged, REFRESH_MS);
    changed.add(id);
  };
  const refreshChanged = () => {
    const ids = [...changed];
    changed.clear();
    if (ids.length <= MOST_REFRESHED) for (const id of ids) void refresh(id);
    else readList(Math.min(MOST_LISTED, ids.length * 2)).catch(() => {}); // the next event asks again
  };

  const take = (event: StreamEvent) => {
    const data = dataOf(event);
    const id = data.uploadId ?? data.id;
    if (typeof id !== 'string') return;
    const { offset, size } = data;
    if (event.type === 'progress' && typeof offset === 'number' && store.has(id)) {
      store.progress(id, offset, typeof size === 'number' ? size : undefined);
      return;
    }
    refreshSoon(id);
  };

  const readList = async (limit: number) => {
    const page = await api.list({ limit });
    const known = new Map(store.list().map(({ shown }) => [shown.id, shown]));
    // The newest is told last.
    for (const shown of page.uploads.toReversed()) {
      tellProcessed(shown, known.get(shown.id));
      store.put(shown);
    }
    return page;
  };
  const readFirstPage = async () => {
    cursor = (await readList(PAGE)).nextCursor;
    onMore(cursor !== null);
  };

  const follow = async (signal: AbortSignal): Promise<void> => {
    // Connected first, listed then: nothing falls between the two.
    const events = await api.events(lastId, signal);
    await readFirstPage();
    onState('live');
    for await (const event of events) {
      if (event.id !== '') lastId = event.id;
      if (event.type === 'reset') await readFirstPage();
      else take(event);
    }
  };

  /** Undefined: try again. */
  const endOf = (error: unknown): FeedState | undefined => {
    if (!(error instanceof HttpFailure)) return undefined;
    if (error.status === 401) return 'token';
    return error.status === 403 || error.status === 404 ? 'own' : undefined;
  };

  const run = async (signal: AbortSignal) => {
    isOwn = false;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await follow(signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        const end = endOf(error);
        if (end !== undefined) {
          isOwn = true;
          onState(end);
          await pollOwn(signal);
          return;
        }
      }
      onState('lost');
      await sleep(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 0, signal);
    }
  };

  const pollOwn = async (signal: AbortSignal) => {
    for (;;) {
      const known = store.list().filter(({ shown }) => own.has(shown.id));
      const running = known.filter(({ shown }) => RUNNING.has(shown.state)).map(({ shown }) => shown.id);
      const missing = [...own].filter((id) => !store.has(id));
      await Promise.all([...running, ...missing].map(refresh));
      await sleep(POLL_MS, signal);
    }
  };

  const start = () => {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    onState('connecting');
    run(signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  };
  start();

  return {
    restart: start,
    follow(id) {
      own.add(id);
      if (isOwn || !store.has(id)) void refresh(id);
    },
    async more() {
      if (cursor === null) return false;
      const page = await api.list({ limit: PAGE, cursor });
      for (const shown of page.uploads) store.put(shown);
      cursor = page.nextCursor;
      onMore(cursor !== null);
      return cursor !== null;
    },
  };
}
