/** What happened to an upload. The contract suite is `test/contracts/event-log.ts`. */
export interface UploadEvent {
  /**
   * Grows with time; opaque otherwise. Goes out as SSE `id` and comes back as `Last-Event-ID`. That of `progress` is
   * the one of the newest kept event ('' when there is none).
   */
  id: string;
  type: UploadEventType;
  uploadId: string;
  atMs: number;
  /** JSON: what there is to tell, by type (docs/events.md). */
  data: Readonly<Record<string, unknown>>;
}

/** `progress` is passing: told to who listens, kept nowhere. All others are kept and can be asked for again. */
export const UPLOAD_EVENT_TYPES = [
  'created',
  'progress',
  'received',
  'verified',
  'preview',
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
] as const;
export type UploadEventType = (typeof UPLOAD_EVENT_TYPES)[number];

export type NewUploadEvent = Omit<UploadEvent, 'id'>;

export interface EventFilter {
  uploadId?: string | undefined;
}

/**
 * An ordered log of the last events (10,000, or a day), shared by all processes of one Redis, or of this one process
 * in SQLite. `GET /events` reads from it.
 */
export interface EventLog {
  /** Never rejects because of a listener; rejects with store_unavailable when the event could not be kept. */
  publish(event: NewUploadEvent): Promise<void>;
  /**
   * Every kept event after `afterId` (exclusive), then every new one as it happens, in order, without a gap
   * between the two. Undefined: only new ones. A listener that throws is dropped. `isReset` of the answer: `afterId`
   * is not in the log any more (or never was), so events may have been missed and the caller has to look at the
   * state itself; then only new events follow. The same happens to a running subscription when a log that is
   * shared loses what this process has not read yet: `onGap` is told then.
   *
   * @throws StoreError store_unavailable
   */
  subscribe(
    filter: EventFilter,
    afterId: string | undefined,
    listener: (event: UploadEvent) => void,
    onGap?: () => void,
  ): Promise<EventSubscription>;
  close(): Promise<void>;
}

export interface EventSubscription {
  isReset: boolean;
  /** The newest id there was at the time of the call; undefined: the log was empty. */
  lastId: string | undefined;
  close(): void;
}
