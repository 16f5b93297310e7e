import type { Readable } from 'node:stream';

/**
 * What the store needs of S3, and no more: the real one is `aws-port.ts`, the simulation injects another.
 * Keys are whole keys (the prefix included). Entity tags are opaque and passed on exactly as they came.
 */
export interface S3Port {
  putObject(request: PutObjectRequest): Promise<{ etag: string }>;
  /** The whole object in memory: for info objects and tails. */
  getObject(key: string): Promise<{ body: Buffer; etag: string }>;
  /** Bytes `start` to `end` (inclusive) as a stream; destroying it ends the transfer. */
  streamObject(key: string, range: { start: number; end: number }): Promise<Readable>;
  headObject(key: string): Promise<ObjectHead>;
  deleteObject(key: string): Promise<void>;
  /** At most 1000 keys. One request where the provider can, else one by one. */
  deleteObjects(keys: readonly string[]): Promise<void>;
  listObjects(request: ListObjectsRequest): Promise<ListObjectsPage>;
  createMultipartUpload(key: string, attributes: ObjectAttributes): Promise<{ multipartId: string }>;
  uploadPart(key: string, multipartId: string, partNumber: number, body: PartBody): Promise<{ etag: string }>;
  /** Bytes `start` to `end` (inclusive) of `source` as a part, only while its entity tag is `sourceEtag`. */
  uploadPartCopy(
    key: string,
    multipartId: string,
    partNumber: number,
    source: { key: string; etag: string; start: number; end: number },
  ): Promise<{ etag: string }>;
  /** The whole of `source` (5 GiB at most) as another object, only while its entity tag is `source.etag`. */
  copyObject(source: { key: string; etag: string }, key: string, attributes: ObjectAttributes): Promise<void>;
  listParts(key: string, multipartId: string, afterPartNumber: number): Promise<ListPartsPage>;
  completeMultipartUpload(
    key: string,
    multipartId: string,
    parts: readonly { partNumber: number; etag: string }[],
  ): Promise<void>;
  abortMultipartUpload(key: string, multipartId: string): Promise<void>;
  listMultipartUploads(prefix: string, marker?: MultipartMarker): Promise<ListMultipartPage>;
  /** Rejects when the bucket cannot be reached or read. */
  checkBucket(): Promise<void>;
  close(): void;
}

export interface PutObjectRequest {
  key: string;
  body: PartBody;
  /** Only if the object's entity tag is this. */
  ifMatch?: string;
  /** Only if there is no such object. */
  ifNoneMatch?: '*';
  /** For what is served: originals and previews. Info objects and tails have none. */
  attributes?: ObjectAttributes;
}

/** What an original or a preview carries besides its bytes. */
export interface ObjectAttributes {
  contentType?: string;
  contentDisposition?: string;
  cacheControl?: string;
  /** Becomes `x-amz-meta-*`: ASCII, 2 KB in all. */
  metadata?: Record<string, string>;
}

/** A part: bytes in memory, or a file of known length that can be opened again for a retry. */
export type PartBody = Buffer | { length: number; open: () => Readable };

export interface ObjectHead {
  contentType?: string;
  size: number;
  etag: string;
  modifiedAtMs: number;
}

export interface ListObjectsRequest {
  prefix: string;
  /** Keys that contain it after the prefix come as one entry of `prefixes`, up to and with the delimiter. */
  delimiter?: '/';
  continuation?: string;
}

export interface ListedObject {
  key: string;
  size: number;
  modifiedAtMs: number;
}

/** In the order of their names. */
export interface ListObjectsPage {
  objects: ListedObject[];
  prefixes: string[];
  continuation: string | undefined;
}

export interface ListedPart {
  partNumber: number;
  size: number;
  etag: string;
}

export interface ListPartsPage {
  parts: ListedPart[];
  /** Pass it as `afterPartNumber` for the next page; undefined on the last. */
  nextAfter: number | undefined;
}

export interface MultipartMarker {
  key: string;
  multipartId: string;
}

export interface ListMultipartPage {
  uploads: { key: string; multipartId: string; initiatedAtMs: number }[];
  nextMarker: MultipartMarker | undefined;
}

/**
 * Why a call failed, as far as it matters for what may be done next. `refused`: it certainly had no effect and a
 * retry will not help (credentials, a malformed request). `ambiguous`: timeout, reset, 5xx: it may have had its
 * effect, or may still have it much later.
 */
export type S3Failure =
  | 'not_found'
  | 'no_such_upload'
  | 'precondition_failed'
  | 'invalid_part'
  | 'refused'
  | 'ambiguous';

export class S3PortError extends Error {
  readonly failure: S3Failure;

  constructor(failure: S3Failure, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = 'S3PortError';
    this.failure = failure;
  }
}

export function isS3Failure(error: unknown, failure: S3Failure): error is S3PortError {
  return error instanceof S3PortError && error.failure === failure;
}
