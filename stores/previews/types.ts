import type { OriginalReader } from '../types.ts';

/** Read like an original; always `close()` it. */
export type PreviewReader = OriginalReader;

export interface PreviewFile {
  /** Content-addressed, such as `preview-<16 hex digits of its SHA-256>.webp`; `[a-z0-9.-]{1,80}`. */
  name: string;
  contentType: string;
  /** Bytes. */
  size: number;
}

/**
 * Where previews live: a directory beside the uploads, or a bucket or prefix of their own. What is here can always be
 * made again. The contract suite is `test/contracts/preview-store.ts`.
 */
export interface PreviewStore {
  /**
   * Stores a local file under its name; what has this name already is the same bytes. Whole or not at all, and durable
   * at the latest once `putManifest` resolved.
   *
   * @throws StoreError upload_damaged (the file has another size), storage_full, store_unavailable
   */
  put(uploadId: string, file: PreviewFile, path: string): Promise<void>;
  /**
   * The list that says which previews an upload has (JSON), written last: what is there without it was left by a
   * crash. Removes every other file of this upload that `keep` does not name.
   */
  putManifest(uploadId: string, json: string, keep: readonly string[]): Promise<void>;
  /** Undefined where there is none. */
  getManifest(uploadId: string): Promise<string | undefined>;
  /** @throws StoreError upload_not_found, store_unavailable */
  open(uploadId: string, name: string): Promise<PreviewReader>;
  /** Everything of this upload. Safe to call for one that has nothing. */
  removeAll(uploadId: string): Promise<void>;
  /** Ids of uploads that have anything here, in no order, each once. */
  listUploads(): AsyncIterable<string>;
  /** A URL that serves the file until it expires; absent where the store has no such thing. */
  readonly presign?: (uploadId: string, name: string, options: PresignOptions) => Promise<string>;
  close(): Promise<void>;
}

export interface PresignOptions {
  expiresInSeconds: number;
  /** Of the answer, in place of the stored one. */
  contentType?: string | undefined;
  contentDisposition?: string | undefined;
  cacheControl?: string | undefined;
}
