import type { RedisCommands } from '../redis/types.ts';
import { BEFORE_ALL } from './stream-id.ts';
import type { NewUploadEvent, UploadEvent } from './types.ts';

/** The kept events, oldest first. */
export interface EventStream {
  /** The newest id; `0-0`: there is none. */
  lastId(): Promise<string>;
  /**
   * Calls `onEvent` for every event after `id`. False, after none: `id` is not in the stream.
   *
   * @throws StoreError store_unavailable, perhaps after some of the events
   */
  readAfter(id: string, onEvent: (event: UploadEvent) => void): Promise<boolean>;
}

const PAGE = 500;

export function createEventStream(redis: RedisCommands, key: string): EventStream {
  async function readPage(start: string): Promise<Entry[]> {
    return (await redis.send('XRANGE', key, start, '+', 'COUNT', PAGE)) as Entry[];
  }

  return {
    async lastId() {
      const entries = (await redis.send('XREVRANGE', key, '+', '-', 'COUNT', 1)) as Entry[];
      return entries[0]?.[0] ?? BEFORE_ALL;
    },

    async readAfter(id, onEvent) {
      let page = await readPage(id);
      if (id !== BEFORE_ALL) {
        // Of a known id, the page begins with its own entry.
        if (page[0]?.[0] !== id) return false;
        page.shift();
      }
      while (page.length > 0) {
        for (const [entryId, [, json = '']] of page) onEvent(parseEvent(entryId, json));
        page = await readPage(`(${page.at(-1)?.[0]}`);
      }
      return true;
    },
  };
}

type Entry = [id: string, fields: string[]];

export function parseEvent(id: string, json: string): UploadEvent {
  return { id, ...(JSON.parse(json) as NewUploadEvent) };
}
