import type { UploadLock } from '../locker/types.ts';
import type { UploadInfo } from './info.ts';

/**
 * What one tenure of an upload's lock leaves for the next, so that a PATCH that follows on needs no listing.
 * It is small and of constant size (no entity tags: completion lists the parts itself), plain JSON.
 */
export interface CachedPartList {
  /** Format of this entry; another number is a miss. */
  version: 1;
  /** The info object as last seen, and its entity tag for the next conditional PUT. */
  info: UploadInfo;
  infoEtag: string;
  /** Parts 1 to this number are stored, each with exactly the size that the grid expects. */
  partCount: number;
  /** Name (without the upload's prefix) of the tail that carries on at the end of those parts, or null. */
  tail: string | null;
  /** Tails that are covered by parts or by a longer tail, and have not been deleted yet. */
  deadTails: string[];
  /** Bytes stored without a gap: the parts and the tail. */
  offset: number;
}

/**
 * A cache of part lists, shared by all processes that may serve the same upload.
 *
 * It can only confirm a PATCH whose Upload-Offset equals `offset`; it never answers a HEAD, never causes a 409 and
 * is never the last word at completion. So an entry that is lost, old or restored from a snapshot costs requests,
 * not bytes. Two things are asked of an implementation: an entry is written only while `lock` is held (compared
 * with the lock service in the same step as the write, so that a holder whose lease ran out cannot overwrite its
 * successor's entry), and entries expire on their own, well within a day (a tombstone outlives them).
 */
export interface PartListCache {
  /** The entry, or undefined. Failures of the cache are misses: never throws. */
  get(id: string): Promise<CachedPartList | undefined>;
  /**
   * Keeps the entry if `lock` is still held, and tells whether it was. Throws `store_unavailable` when the cache
   * could not be asked: the caller then acknowledges nothing.
   */
  setIfLockHeld(id: string, entry: CachedPartList, lock: UploadLock): Promise<boolean>;
  /** Forgets the entry. Throws `store_unavailable` when the cache could not be asked. */
  drop(id: string): Promise<void>;
}

/** For a single process: the same promises from a Map, least recently used entries out first. */
export function createMemoryPartListCache(maxEntries = 10_000): PartListCache {
  const entries = new Map<string, CachedPartList>();
  return {
    async get(id) {
      return entries.get(id);
    },
    async setIfLockHeld(id, entry, lock) {
      if (lock.lost.aborted) return false;
      entries.delete(id);
      entries.set(id, entry);
      if (entries.size > maxEntries) {
        for (const oldest of entries.keys()) {
          entries.delete(oldest);
          break;
        }
      }
      return true;
    },
    async drop(id) {
      entries.delete(id);
    },
  };
}
