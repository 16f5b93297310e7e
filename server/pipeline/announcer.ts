import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { EventLog, UploadEventType } from '../../stores/events/types.ts';
import { parseMediaInfo } from '../../stores/media-info.ts';

/** Somebody outside who is told, such as webhooks. */
export interface Listener {
  /** Whether it wants to know of this at all. */
  wants(type: UploadEventType): boolean;
  /** Durable once it resolves: it will be told, at least once, by the same id however often this is called. */
  announce(record: UploadRecord, type: UploadEventType): Promise<void>;
}

export type EventData = Readonly<Record<string, unknown>>;

/** Tells the world what happened to an upload. Telling twice is harmless. */
export interface Announcer {
  /**
   * Listeners wait for one of these: whoever brings it about must see to it that it is told even if this process ends
   * at the next instruction.
   */
  isAwaited(types: readonly UploadEventType[]): boolean;
  /** Listeners first, then the log of events. Rejects when either cannot take it now. */
  announce(record: UploadRecord, type: UploadEventType, data?: EventData): Promise<void>;
  /** The state that the record has come to. */
  announceEnd(record: UploadRecord): Promise<void>;
}

export interface AnnouncerOptions {
  events: EventLog;
  listeners: readonly Listener[];
  now?: () => number;
}

export function createAnnouncer({ events, listeners, now = Date.now }: AnnouncerOptions): Announcer {
  async function announce(record: UploadRecord, type: UploadEventType, data: EventData = {}): Promise<void> {
    for (const listener of listeners) if (listener.wants(type)) await listener.announce(record, type);
    await events.publish({ type, uploadId: record.id, atMs: now(), data });
  }

  return {
    isAwaited: (types) => listeners.some((listener) => types.some((type) => listener.wants(type))),
    announce,
    async announceEnd(record) {
      const { state } = record;
      if (state === 'receiving' || state === 'processing') return;
      await announce(record, state, endOf(record));
    },
  };
}

function endOf({ state, size, sha256, media, reasonCode, reason }: UploadRecord): EventData {
  if (state === 'received') return { size };
  if (state === 'ready') return { size, sha256, mediaType: parseMediaInfo(media)?.type ?? null };
  return { reason: { code: reasonCode, message: reason } };
}
