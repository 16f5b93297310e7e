import type { StoredUpload } from './stored-upload.ts';

/** Something that is in the bucket (or in a directory) already, and may become an upload. */
export interface ImportSource {
  /** Its key, or its path. */
  name: string;
  /** Bytes. */
  size: number;
}

/**
 * `imported`: there is an upload now. `known`: there was one. `deleted`: there was one, and somebody deleted it. `gone`:
 * it is not there any more.
 */
export type ImportOutcome =
  | { outcome: 'imported' | 'known'; upload: StoredUpload }
  | { outcome: 'deleted' | 'gone' };

/** Takes what is there already for finished uploads, without moving or changing it. */
export interface ImportingStore {
  /**
   * Everything under a prefix of keys (or in a directory and those below it) that is not ours already, in no order.
   *
   * @throws StoreError; RangeError when there is no such directory, or the store's own files are in it
   */
  list(where: string): AsyncIterable<ImportSource>;
  /**
   * Makes a finished upload whose original is this very object. Its id is as unguessable as any other, and always the
   * same for the same content in the same place: importing it again, at once or after a crash, finds it.
   */
  adopt(source: ImportSource): Promise<ImportOutcome>;
}
