/**
 * `receiving -> received -> processing -> ready | rejected | failed`; `receiving -> aborted | expired`.
 * `received`: all bytes are there and durable. `ready`: verified (where asked for) and served.
 */
export const UPLOAD_STATES = [
  'receiving',
  'received',
  'processing',
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
] as const;
export type UploadState = (typeof UPLOAD_STATES)[number];

/** What is known about an upload besides its bytes. An index and a history: the store stays the truth. */
export interface UploadRecord {
  id: string;
  state: UploadState;
  /** Bytes; null while deferred. */
  size: number | null;
  offset: number;
  /** Upload-Metadata as sent, or null. */
  rawMetadata: string | null;
  /** `group` of the metadata, or null. */
  group: string | null;
  /** `filename` or `name` of the metadata, or null. */
  filename: string | null;
  /** `filetype`, `type` or `contentType` of the metadata, or null. */
  contentType: string | null;
  createdAtMs: number;
  updatedAtMs: number;
  /** When the first body byte arrived. */
  firstByteAtMs: number | null;
  /** When all bytes were stored. */
  receivedAtMs: number | null;
  expiresAtMs: number | null;
  /** Body bytes received, including ones received again after a failure. */
  receivedBytes: number;
  /** Requests that carried a body. */
  requests: number;
  /** Requests that continued after an earlier one was cut off. */
  resumes: number;
  /** Milliseconds spent receiving bodies: size / this = the upload's speed. */
  receivingMs: number;
  declaredSha256: string | null;
  sha256: string | null;
  /** Why it was rejected, failed or aborted: a code and a sentence. While `receiving`: its part in a concatenation. */
  reasonCode: string | null;
  reason: string | null;
  /**
   * Whose open uploads this one counts among: an opaque key, fixed at creation; null: nobody's. Keys of partial
   * uploads (which count as one) end in PARTIALS_OWNER_SUFFIX. Not in the store: a catalog built anew has none.
   */
  owner: string | null;
  /** A MediaInfo (stores/media-info.ts) as JSON; null until it is known. */
  media: string | null;
}

/** `<owner>` and `<owner>/partials` are one owner. */
export const PARTIALS_OWNER_SUFFIX = '/partials';

export type UploadPatch = Partial<Omit<UploadRecord, 'id' | 'state' | 'createdAtMs' | 'owner'>>;

/** Added to the counters of a record, atomically. */
export interface UploadCounters {
  receivedBytes?: number;
  requests?: number;
  resumes?: number;
  receivingMs?: number;
}

export interface UploadFilter {
  state?: UploadState | undefined;
  group?: string | undefined;
}

export interface UploadPage {
  items: UploadRecord[];
  /** Opaque; pass it as `cursor` for the next page. Undefined on the last page. */
  nextCursor: string | undefined;
}

export interface CatalogTotals {
  byState: Record<UploadState, number>;
  receivedBytes: number;
  requests: number;
  resumes: number;
}

/** An index of uploads. The contract suite is `test/contracts/upload-catalog.ts`. */
export interface UploadCatalog {
  /** Adds the record; one that is already there wins, and is returned. */
  create(record: UploadRecord): Promise<UploadRecord>;
  /**
   * Like `create`, unless the record's owner has `maxOpen` uploads that are `receiving` already: then nothing is
   * added and the answer is undefined. All partial uploads of an owner count as one. Comparing and adding are one
   * step: however many creations run at once, in however many processes, there are never more than `maxOpen`.
   */
  createWithin(record: UploadRecord, maxOpen: number): Promise<UploadRecord | undefined>;
  get(id: string): Promise<UploadRecord | undefined>;
  /** Newest first (createdAtMs, then id), 1 to 1000 a page. A cursor that we did not make throws a RangeError. */
  list(filter: UploadFilter, page: { limit: number; cursor?: string | undefined }): Promise<UploadPage>;
  /** Compare-and-set on the state: undefined, and nothing changed or added, unless the state is one of `from`. */
  transition(
    id: string,
    from: UploadState | readonly UploadState[],
    to: UploadState,
    patch?: UploadPatch,
    add?: UploadCounters,
  ): Promise<UploadRecord | undefined>;
  /** Changes facts, not the state; adds to counters. Nothing happens for an unknown id. */
  update(id: string, patch: UploadPatch, add?: UploadCounters): Promise<void>;
  remove(id: string): Promise<void>;
  totals(): Promise<CatalogTotals>;
  /**
   * One of the processes that share this catalog gets `name`, until `forMs` from now: for work that one should do. A
   * catalog that lost everything has lost its claims too.
   */
  claim(name: string, forMs: number): Promise<boolean>;
  /** Moves the end of a claim to `forMs` from now; 0 gives it back. For who holds it. */
  extendClaim(name: string, forMs: number): Promise<void>;
  /** Resolves when everything accepted so far would survive the end of this process. */
  flush(): Promise<void>;
  check(): Promise<void>;
  close(): Promise<void>;
}

/** A new record for an upload that was just created (counters at zero). */
export function newUploadRecord(
  fields: Pick<UploadRecord, 'id' | 'size' | 'rawMetadata' | 'createdAtMs'> & Partial<UploadRecord>,
): UploadRecord {
  return {
    state: 'receiving',
    offset: 0,
    group: null,
    filename: null,
    contentType: null,
    updatedAtMs: fields.createdAtMs,
    firstByteAtMs: null,
    receivedAtMs: null,
    expiresAtMs: null,
    receivedBytes: 0,
    requests: 0,
    resumes: 0,
    receivingMs: 0,
    declaredSha256: null,
    sha256: null,
    reasonCode: null,
    reason: null,
    owner: null,
    media: null,
    ...fields,
  };
}
