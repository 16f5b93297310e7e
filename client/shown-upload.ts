/*
 * What the JSON API shows of uploads, as far as its readers rely on it: Node's client, the command line, the page.
 * Nothing but types that import nothing, so that a browser's code can have them too.
 */

/** An upload as `GET /uploads/<id>` shows it; sizes in bytes, times as ISO 8601. */
export interface ShownUpload {
  id: string;
  url: string;
  state: 'receiving' | 'received' | 'processing' | 'ready' | 'rejected' | 'failed' | 'aborted' | 'expired';
  partial: boolean;
  /** Null: not known yet. */
  size: number | null;
  offset: number;
  filename: string | null;
  contentType: string | null;
  group: string | null;
  /** What the server computed of it, in hexadecimal. */
  sha256: string | null;
  /** What a client said that it is. */
  declaredSha256: string | null;
  reason: { code: string; message: string } | null;
  /** Null until something is known of its content. Older servers have no such field. */
  media?: ShownMedia | null;
  createdAt: string;
  updatedAt: string;
  receivedAt: string | null;
  expiresAt: string | null;
  transfer: {
    receivedBytes: number;
    requests: number;
    resumes: number;
    firstByteMs: number | null;
    durationMs: number | null;
    bytesPerSecond: number | null;
  };
}

/** What an upload is, and what was made of it; dimensions in pixels. */
export interface ShownMedia {
  type: string | null;
  width: number | null;
  height: number | null;
  pages: number | null;
  durationMs: number | null;
  /** A ThumbHash in base64. */
  placeholder: string | null;
  /** Why previews are missing. */
  missing: { code: string; message: string } | null;
  /** How long its previews took. */
  processing: { durationMs: number } | null;
  previews: ShownPreview[];
  originalUrl: string;
  /** Null: the addresses do not expire. */
  urlsExpireAt: string | null;
}

export interface ShownPreview {
  variant: 'preview' | 'thumb' | 'poster' | 'page' | 'document';
  page?: number;
  contentType: string;
  size: number;
  width?: number;
  height?: number;
  url: string;
}

/** An answer to `GET /uploads`. */
export interface UploadPage {
  uploads: ShownUpload[];
  nextCursor: string | null;
}

export interface ListQuery {
  state?: string | undefined;
  group?: string | undefined;
  /** 1 to 1000. */
  limit?: number | undefined;
  cursor?: string | undefined;
}
