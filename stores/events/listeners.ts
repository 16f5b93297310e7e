import type { EventFilter, UploadEvent } from './types.ts';

export type EventListener = (event: UploadEvent) => void;

/** Who wants to hear of which uploads. Telling costs as much as there are listeners of the event's own upload. */
export interface EventListeners {
  readonly size: number;
  /** The returned function ends it. */
  add(filter: EventFilter, listener: EventListener): () => void;
  /** Never throws: a listener that does is dropped. */
  tell(event: UploadEvent): void;
}

export function createEventListeners(): EventListeners {
  /** By upload; undefined: those of all uploads. */
  const listeners = new Map<string | undefined, Set<EventListener>>();
  let size = 0;

  function remove(uploadId: string | undefined, listener: EventListener): void {
    const set = listeners.get(uploadId);
    if (set === undefined || !set.delete(listener)) return;
    size -= 1;
    if (set.size === 0) listeners.delete(uploadId);
  }

  function tellThoseOf(uploadId: string | undefined, event: UploadEvent): void {
    for (const listener of listeners.get(uploadId) ?? []) {
      try {
        listener(event);
      } catch {
        remove(uploadId, listener);
      }
    }
  }

  return {
    get size() {
      return size;
    },
    add({ uploadId }, listener) {
      // One of its own, so that the same function can listen twice.
      const entry: EventListener = (event) => listener(event);
      const set = listeners.get(uploadId) ?? new Set();
      listeners.set(uploadId, set.add(entry));
      size += 1;
      return () => remove(uploadId, entry);
    },
    tell(event) {
      if (size === 0) return;
      tellThoseOf(event.uploadId, event);
      tellThoseOf(undefined, event);
    },
  };
}
