import type { UploadError } from './errors.ts';
import type { HeaderSource } from './http.ts';
import type { KeyValueStorage } from './resume-store.ts';
import type { UploadWay } from './sending.ts';

export interface UploaderOptions {
  /** Where Landfall is. Default: the page's own origin. */
  server?: string;
  /** Where tus uploads are created, if `/capabilities` does not say. Default: `/files` at the server. */
  endpoint?: string;
  /** Of every request to Landfall (never to the bucket). */
  headers?: Record<string, string> | HeaderSource;
  /** `auto`: straight to the bucket where that works, else tus. `off`: always tus. Default `auto`. */
  direct?: 'auto' | 'off';
  /** Files that are sent at once. Default 3. */
  files?: number;
  /** Requests with bytes that run at once, of all files together: 1 to 50. Default 3. */
  parts?: number;
  /** How many `parts` may become where that is faster. Default 6, what browsers allow one HTTP/1.1 server. */
  maxParts?: number;
  /** False: `parts` and the size of tus requests stay as they are. Default true. */
  adaptive?: boolean;
  /** Bytes of a part, 5 MiB or more. Default: by the size of the file. */
  partSize?: number;
  /** Milliseconds before the second, third… attempt of a request. Default 1000, 2000, 4000. */
  retryDelays?: readonly number[];
  /** Computes the SHA-256 of every file and declares it, so that the server verifies what arrived. Default false. */
  checksum?: boolean;
  /** Tells the server how direct uploads went. Default true. */
  reports?: boolean;
  /** Where unfinished direct uploads are remembered. Default: localStorage. */
  storage?: KeyValueStorage;
}

export interface AddOptions {
  /** Default: the file's own. */
  name?: string;
  type?: string;
  /** Kept with the upload, as tus metadata: `group` puts uploads together in a gallery. */
  metadata?: Record<string, string>;
  /** Higher ones first. Default 0. */
  priority?: number;
  /** Says which file this is across page loads. Default: of its name, type, size and time of change. */
  fingerprint?: string;
  /** As the uploader's, for this file. */
  checksum?: boolean;
}

/**
 * `queued`: waits for its turn. `uploading`. `offline`: waits for a network. `paused`: until `resume()`. `done`,
 * `failed` (until `retry()`), `cancelled`.
 */
export type UploadStatus = 'queued' | 'uploading' | 'offline' | 'paused' | 'done' | 'failed' | 'cancelled';

/** How an upload stands; a new object whenever something changes. */
export interface UploadProgress {
  readonly status: UploadStatus;
  /** Undefined until it is decided. */
  readonly way: UploadWay | undefined;
  /** Landfall's id of it: `/uploads/:id`, `/media/:id`. */
  readonly id: string | undefined;
  readonly sentBytes: number;
  readonly totalBytes: number;
  /** Of the last seconds. */
  readonly bytesPerSecond: number;
  /** Undefined while it cannot be told. */
  readonly secondsLeft: number | undefined;
  /** Requests that had to be sent again. */
  readonly retries: number;
  /** It went on where an earlier page stopped. */
  readonly isResumed: boolean;
  /** Address of the finished upload. */
  readonly url: string | undefined;
  /** Hex; of the finished upload, where it was asked for. */
  readonly sha256: string | undefined;
  readonly error: UploadError | undefined;
}

export interface FinishedUpload {
  id: string;
  url: string;
  way: UploadWay;
  sha256: string | undefined;
}

export interface BrowserUpload {
  readonly file: Blob;
  readonly name: string;
  readonly progress: UploadProgress;
  /** Rejects with an UploadError, also when it is cancelled. Stays pending while paused. Settles once. */
  readonly finished: Promise<FinishedUpload>;
  /** Stops sending and keeps what arrived. */
  pause(): void;
  resume(): void;
  /** Begins again after a failure, from what arrived. `finished` stays rejected: `progress` tells. */
  retry(): void;
  /** Stops, and removes what arrived from the server. */
  cancel(): void;
  setPriority(priority: number): void;
  /** Calls back after every change, at most some ten times a second; returns what ends that. */
  subscribe(listener: () => void): () => void;
}

export interface Uploader {
  /** All that were added and not removed, in the order in which they were added. */
  readonly uploads: readonly BrowserUpload[];
  add(file: Blob, options?: AddOptions): BrowserUpload;
  pauseAll(): void;
  resumeAll(): void;
  /** Takes a finished, failed or cancelled upload out of `uploads`. */
  remove(upload: BrowserUpload): void;
  /** Calls back when one was added or removed. */
  subscribe(listener: () => void): () => void;
  /** Pauses everything for good: what is unfinished is resumed by a later page. */
  close(): void;
}
