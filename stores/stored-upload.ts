import { Upload } from '@tus/utils';

/** The whole-file digest that a client declared (lower-case hex), or that we computed. */
export interface Digest {
  algorithm: 'sha-256';
  hex: string;
}

export interface StoredUploadFields {
  id: string;
  /** Length of the whole upload in bytes; undefined while the client has deferred it. */
  size: number | undefined;
  /** Bytes that are stored, from the first one on without a gap. */
  offset: number;
  /** The `Upload-Metadata` header exactly as the client sent it (tus: it must come back as given). */
  rawMetadata: string | undefined;
  /** The `Upload-Concat` header exactly as the client sent it. */
  concat?: string | undefined;
  /** Ids of the partial uploads that a final one is made of, in order. */
  partialIds?: readonly string[] | undefined;
  declaredDigest?: Digest | undefined;
  createdAtMs: number;
  /**
   * When the upload expires if it stays unfinished; undefined: never (also for every finished upload). A partial
   * upload expires when it is full, too: all it is for is a final one.
   */
  expiresAtMs?: number | undefined;
  /** The finished object exists and can be read. Files: true as soon as offset = size. */
  isComplete: boolean;
  /** Its bytes go from the client straight to the bucket (stores/direct-types.ts). */
  isDirect?: boolean | undefined;
}

/**
 * An upload as its store knows it. It is a tus `Upload` (so @tus/server's handlers take it) with what the stock
 * class has no place for. `metadata` of the base class stays undefined: the raw header is the truth.
 */
export class StoredUpload extends Upload {
  readonly rawMetadata: string | undefined;
  readonly concat: string | undefined;
  readonly partialIds: readonly string[] | undefined;
  declaredDigest: Digest | undefined;
  readonly createdAtMs: number;
  expiresAtMs: number | undefined;
  isComplete: boolean;
  readonly isDirect: boolean;
  /** Private to the store that made this object (part list, entity tag…); nobody else looks inside. */
  storeState: unknown;

  constructor(fields: StoredUploadFields) {
    super({
      id: fields.id,
      offset: fields.offset,
      ...(fields.size === undefined ? {} : { size: fields.size }),
      creation_date: new Date(fields.createdAtMs).toISOString(),
    });
    this.rawMetadata = fields.rawMetadata;
    this.concat = fields.concat;
    this.partialIds = fields.partialIds;
    this.declaredDigest = fields.declaredDigest;
    this.createdAtMs = fields.createdAtMs;
    this.expiresAtMs = fields.expiresAtMs;
    this.isComplete = fields.isComplete;
    this.isDirect = fields.isDirect ?? false;
  }

  /** Every byte is stored (the object may still have to be completed). */
  get isFull(): boolean {
    return this.size !== undefined && this.offset === this.size;
  }
}
