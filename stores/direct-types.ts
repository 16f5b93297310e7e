import type { UploadLock } from './locker/types.ts';
import type { StoredUpload } from './stored-upload.ts';

/** How the bytes come: as numbered parts, or as one object. */
export type DirectKind = 'multipart' | 'single';

export interface DirectPlan {
  kind: DirectKind;
  /** Length in bytes of every part but the last, where the client has declared it. */
  partSize: number | undefined;
  /** What the client's capability token is checked against. The store keeps it, and never reads it. */
  tokenHash: string;
}

/** A direct upload as the calls that sign for it need it: what was planned, and not what has arrived. */
export interface DirectUpload {
  readonly id: string;
  readonly kind: DirectKind;
  /** Key of the object that the client sends to. */
  readonly key: string;
  /** Bytes; undefined: not declared. Of a sealed upload: what it has. */
  readonly size: number | undefined;
  readonly partSize: number | undefined;
  readonly tokenHash: string;
  /** All of it had arrived, and its object is, or will be, put together: nothing can be added. */
  readonly isSealed: boolean;
  readonly expiresAtMs: number | undefined;
  /** Private to the store. */
  readonly storeState: unknown;
}

export interface DirectPart {
  partNumber: number;
  /** Bytes. */
  size: number;
  /** As S3 gives it: with its quotes. */
  etag: string;
}

export interface DirectLimits {
  /** Smallest part, in bytes, the last one excepted. */
  minPartSizeBytes: number;
  maxPartSizeBytes: number;
  maxParts: number;
  /** Largest upload of the kind `single`, in bytes. */
  maxSingleBytes: number;
  /** What is sent in one piece can be sent again until its URL expires: longest time, in milliseconds. */
  maxSingleExpiryMs: number;
  /** The service takes forms with a policy ("POST Object"), which say how large an object may be. */
  hasForms: boolean;
}

/** A request that a client without credentials can make until it expires. */
export interface SignedRequest {
  url: string;
  /** Headers that the signature covers and a browser does not send by itself. */
  headers: Record<string, string>;
}

/** A form that a client without credentials can post: these fields, and `file` after them. */
export interface SignedForm {
  url: string;
  fields: Record<string, string>;
}

/**
 * Uploads whose bytes go from the client straight to the bucket, by URLs that are signed here. In all else they are
 * uploads like any other: `openUpload` tells how far they came, `complete` makes the original, `removeUpload`,
 * `listUploads` and `sweep` know them. The client's parts all have one size, only the last may be shorter.
 */
export interface DirectUploads {
  readonly limits: DirectLimits;
  /** Makes the upload, as `UploadStore.create` does. `planned.size` undefined: what arrives decides. */
  create(planned: StoredUpload, plan: DirectPlan): Promise<StoredUpload>;
  /** Throws upload_not_found (also for an upload that is not direct), upload_gone, store_unavailable. */
  find(id: string): Promise<DirectUpload>;
  /** An upload that was opened or created. */
  describe(upload: StoredUpload): DirectUpload;
  /** Puts off the expiry of an upload that its client still works on. Its new time; undefined: never. */
  keepAlive(upload: DirectUpload): Promise<number | undefined>;
  /** What has arrived, in order. Of a sealed upload: what it was made of, without entity tags that mean anything. */
  listParts(upload: DirectUpload): Promise<DirectPart[]>;
  /** @param bytes the only length that is accepted; undefined: any */
  signPart(
    upload: DirectUpload,
    partNumber: number,
    options: { expiresMs: number; bytes: number | undefined },
  ): Promise<SignedRequest>;
  /** A PUT of the whole object, of exactly `upload.size` bytes. */
  signPut(upload: DirectUpload, options: { expiresMs: number }): Promise<SignedRequest>;
  /** A form for the whole object. */
  signForm(
    upload: DirectUpload,
    options: { expiresMs: number; minBytes: number; maxBytes: number },
  ): Promise<SignedForm>;
  /** What an opened upload was found to be made of. */
  partsOf(upload: StoredUpload): DirectPart[];
  /**
   * Its client has sent all of it: from now on it is full, cannot expire, and `complete` may follow. Safe to call
   * again. Throws parts_mismatch when what arrived is not the upload that was declared, or no upload at all.
   */
  seal(upload: StoredUpload, lock: UploadLock): Promise<void>;
}
