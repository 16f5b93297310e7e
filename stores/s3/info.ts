import type { DirectKind } from '../direct-types.ts';
import type { Environment } from '../environment.ts';
import { StoreError } from '../errors.ts';
import type { Digest } from '../stored-upload.ts';
import type { UploadKeys } from './keys.ts';
import { isS3Failure, type S3Port } from './port.ts';
import { type RetryPolicy, toStoreError, withRetries } from './retry.ts';
import type { GridRules } from './rules.ts';

/**
 * `open`: takes bytes. `finishing`: every part was there with the right size, and the object is being (or has
 * been) put together; it can no longer expire. `gone`: deleted or expired, a tombstone.
 */
export type InfoState = 'open' | 'finishing' | 'gone';

/**
 * The info object `<prefix><id>.info`, JSON. `size`, `partSize` and `multipartId` are each set once; those of a direct
 * upload with its seal, which can be broken again (`direct-finish.ts`).
 */
export interface UploadInfo {
  format: 1;
  /** Grows with every change, so that no two contents (and entity tags) are alike. */
  version: number;
  id: string;
  size: number | null;
  rawMetadata: string | null;
  concat: string | null;
  /** Of a final upload: what it is made of, in order. */
  partials?: PlannedPartial[];
  /** Of an upload that does not pass through this server: what its client declared. */
  direct?: DirectDeclaration;
  /** Where the original is, if it is an object that was there before. */
  imported?: ImportedObject;
  /** The entity tag of the staged object that was sealed. */
  stagedEtag?: string | undefined;
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

export interface DirectDeclaration {
  kind: DirectKind;
  /** Bytes; null: whatever arrives. */
  size: number | null;
  /** Bytes of every part but the last; null: whatever arrives. */
  partSize: number | null;
  tokenHash: string;
}

/** Somebody else's object, as it was when it was imported. */
export interface ImportedObject {
  key: string;
  etag: string;
}

/** A finished partial upload as it was when the final one was planned. */
export interface PlannedPartial {
  id: string;
  size: number;
  etag: string;
}

/** An info object as read or written, with the entity tag that the next conditional PUT names. */
export interface InfoVersion {
  info: UploadInfo;
  etag: string;
}

/** Given the newest info: what it should become, or undefined when it already says so. May throw. */
export type InfoChange = (info: UploadInfo) => UploadInfo | undefined;

export interface InfoObjects {
  /** Throws upload_not_found, upload_damaged (not JSON of ours), store_unavailable. */
  read(id: string): Promise<InfoVersion>;
  /** Throws store_unavailable; upload_damaged when the id is taken. */
  create(info: UploadInfo): Promise<InfoVersion>;
  /**
   * Changes the info object by conditional PUT. When somebody else was faster, the change is decided again on
   * what they wrote; when what is stored is exactly what we tried to store, an earlier attempt of ours had won.
   */
  change(from: InfoVersion, change: InfoChange): Promise<InfoVersion>;
}

/** Conditional PUTs that lost against others before we give up and answer 503. */
const MAX_ROUNDS = 6;

export function createInfoObjects(
  s3: S3Port,
  keys: UploadKeys,
  environment: Environment,
  retry: RetryPolicy,
  rules: GridRules,
): InfoObjects {
  async function read(id: string): Promise<InfoVersion> {
    try {
      const { body, etag } = await withRetries(environment, retry, () => s3.getObject(keys.info(id)));
      return { info: parseInfo(id, body), etag };
    } catch (error) {
      if (isS3Failure(error, 'not_found')) {
        throw new StoreError('upload_not_found', 'there is no such upload', { cause: error });
      }
      throw toStoreError(error, 'reading the info object');
    }
  }

  /** 'lost': what is stored is not what the condition named. */
  async function put(info: UploadInfo, condition: { ifMatch: string } | { ifNoneMatch: '*' }) {
    const body = Buffer.from(JSON.stringify(info));
    const request = { key: keys.info(info.id), body, ...(rules.conditionalInfo ? condition : {}) };
    try {
      return await withRetries(environment, retry, () => s3.putObject(request));
    } catch (error) {
      if (isS3Failure(error, 'precondition_failed') || isS3Failure(error, 'not_found')) return 'lost';
      throw toStoreError(error, 'writing the info object');
    }
  }

  return {
    read,
    async create(info) {
      const written = await put(info, { ifNoneMatch: '*' });
      if (written !== 'lost') return { info, etag: written.etag };
      const there = await read(info.id);
      if (isSame(there.info, info)) return there;
      throw new StoreError('upload_damaged', 'the id of the new upload is taken');
    },
    async change(from, change) {
      let current = from;
      for (let round = 0; round < MAX_ROUNDS; round += 1) {
        const changed = change(current.info);
        if (changed === undefined) return current;
        const next = { ...changed, version: current.info.version + 1 };
        const written = await put(next, { ifMatch: current.etag });
        if (written !== 'lost') return { info: next, etag: written.etag };
        current = await read(from.info.id);
        if (isSame(current.info, next)) return current;
      }
      throw new StoreError('store_unavailable', 'the info object changes faster than we can follow');
    },
  };
}

function isSame(a: UploadInfo, b: UploadInfo): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function parseInfo(id: string, body: Buffer): UploadInfo {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new StoreError('upload_damaged', `the info object of ${id} is not JSON`, { cause });
  }
  if (!isUploadInfo(parsed) || parsed.id !== id) {
    throw new StoreError('upload_damaged', `the info object of ${id} is not one of ours`);
  }
  return parsed;
}

function isUploadInfo(value: unknown): value is UploadInfo {
  if (typeof value !== 'object' || value === null) return false;
  const info = value as Partial<Record<keyof UploadInfo, unknown>>;
  const isNumberOrNull = (field: unknown) => field === null || typeof field === 'number';
  return (
    info.format === 1 &&
    typeof info.version === 'number' &&
    typeof info.id === 'string' &&
    isNumberOrNull(info.size) &&
    isNumberOrNull(info.partSize) &&
    isNumberOrNull(info.expiresAtMs) &&
    (info.multipartId === null || typeof info.multipartId === 'string') &&
    typeof info.createdAtMs === 'number' &&
    (info.partials === undefined || Array.isArray(info.partials)) &&
    (info.direct === undefined || (typeof info.direct === 'object' && info.direct !== null)) &&
    (info.state === 'open' || info.state === 'finishing' || info.state === 'gone')
  );
}
