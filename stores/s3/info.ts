import type { Digest } from '../types.ts';

/**
 * `open`: takes bytes. `finishing`: every part was there with the right size, and the object is being (or has
 * been) put together; it can no longer expire. `gone`: deleted or expired, a tombstone.
 */
export type InfoState = 'open' | 'finishing' | 'gone';

/** The info object `<prefix><id>.info`, JSON. `size`, `partSize` and `multipartId` are each set once. */
export interface UploadInfo {
  format: 1;
  /** Grows with every change, so that no two contents (and entity tags) are alike. */
  version: number;
  id: string;
  size: number | null;
  rawMetadata: string | null;
  concat: string | null;
  declaredDigest: Digest | null;
  createdAtMs: number;
  /** When it expires if it stays unfinished; null: never. */
  expiresAtMs: number | null;
  /** The grid: part n holds bytes [(n-1) * partSize, n * partSize). */
  partSize: number | null;
  multipartId: string | null;
  state: InfoState;
  goneAtMs: number | null;
}
