import { StoreError } from '../errors.ts';
import type { StoredUpload } from '../stored-upload.ts';
import type { StoreContext } from './context.ts';
import { multipartState, stagedState } from './direct-state.ts';
import { goneError, isExpired, readLiveInfo } from './expiry.ts';
import { contiguousParts, endOfParts, type Grid, parseTailName, type Tail } from './grid.ts';
import { assertUnchanged, locateOriginal } from './imported.ts';
import type { InfoVersion, UploadInfo } from './info.ts';
import { headIfExists } from './object-reader.ts';
import type { CachedPartList } from './part-list-cache.ts';
import { isS3Failure, type ListedPart, type ObjectHead } from './port.ts';
import { toStoreError, withRetries } from './retry.ts';

export { isExpired, readLiveInfo };

/** What is stored of an upload, as one tenure of its lock knows it. */
export interface GridState {
  version: InfoVersion;
  /**
   * Every part that counts, by number, from 1 on without a gap. Undefined when the cache only confirmed that the
   * parts are there (it keeps no entity tags).
   */
  parts: Map<number, ListedPart> | undefined;
  partCount: number;
  tail: Tail | undefined;
  /** Names of tails that a part or a longer tail covers. */
  deadTails: string[];
  offset: number;
  isComplete: boolean;
  /** A direct upload's staged object, unless it has another length than was declared. */
  staged?: ObjectHead;
}

export function gridOf(info: UploadInfo): Grid {
  if (info.partSize === null) throw new Error('the grid of an upload without parts was asked for');
  return { partSize: info.partSize, size: info.size };
}

/** The state of an upload of which nothing is stored yet. */
export function emptyState(version: InfoVersion): GridState {
  return {
    version,
    parts: new Map(),
    partCount: 0,
    tail: undefined,
    deadTails: [],
    offset: 0,
    isComplete: false,
  };
}

export function stateOf(upload: StoredUpload): GridState {
  const state = upload.storeState as GridState | undefined;
  if (state === undefined) throw new Error(`upload ${upload.id} was not opened by the S3 store`);
  return state;
}

/**
 * Reads an upload's state from the bucket. Tails are listed before parts (a writer stores the part before it
 * deletes the tail that it covers, so bytes are seen at least once), and the object is asked for only after the
 * multipart upload was found missing.
 */
export async function readState(context: StoreContext, id: string): Promise<GridState> {
  const version = await readLiveInfo(context, id);
  const { info } = version;
  // Marked only after every part was there with its right size, and parts do not shrink.
  if (info.size !== null && (info.state === 'finishing' || info.size === 0)) {
    const head = await headOriginal(context, id, info);
    if (head === undefined && info.imported !== undefined) throw importedGone(info.imported.key);
    if (head !== undefined && head.size !== info.size) throw wrongSize(id);
    return {
      ...emptyState(version),
      parts: undefined,
      offset: info.size,
      isComplete: head !== undefined,
    };
  }
  if (info.direct?.kind === 'single') return stagedState(version, await headStaged(context, id));
  if (info.multipartId === null) return emptyState(version);
  if (info.direct !== undefined) {
    const parts = await listAllParts(context, id, info.multipartId);
    return parts === undefined ? withoutMultipart(context, version) : multipartState(version, parts);
  }
  const { tails, parts } = await listStored(context, id, info.multipartId);
  if (parts === undefined) return withoutMultipart(context, version);
  return assemble(context, version, parts, tails);
}

/** The state that the cache confirms for a write at `requestOffset`; undefined: read the bucket. */
export async function confirmFromCache(
  context: StoreContext,
  id: string,
  requestOffset: number,
): Promise<GridState | undefined> {
  const { cache, rules } = context;
  const entry = await cache.get(id);
  if (entry?.version !== 1) return undefined;
  if (rules.cacheConfirmsOnly && entry.offset !== requestOffset) return undefined;
  let version: InfoVersion = { info: entry.info, etag: entry.infoEtag };
  // Size, part size and multipart id are set once: an old entry that has all three cannot be wrong about them.
  if (entry.info.size === null && rules.cacheNeedsLength) version = await readLiveInfo(context, id);
  const { info } = version;
  if (info.multipartId === null || info.multipartId !== entry.info.multipartId) return undefined;
  if (info.state !== 'open' || isExpired(context, info)) return undefined;
  const tail = entry.tail === null ? undefined : parseTailName(entry.tail);
  if (entry.tail !== null && tail === undefined) return undefined;
  return {
    version,
    parts: undefined,
    partCount: entry.partCount,
    tail,
    deadTails: entry.deadTails.slice(),
    offset: entry.offset,
    isComplete: false,
  };
}

export function toCacheEntry(state: GridState): CachedPartList {
  return {
    version: 1,
    info: state.version.info,
    infoEtag: state.version.etag,
    partCount: state.partCount,
    tail: state.tail?.name ?? null,
    deadTails: state.deadTails.slice(),
    offset: state.offset,
  };
}

/**
 * @param known the upload's info, where it was read already
 * @throws StoreError upload_damaged when an imported object was replaced
 */
export async function headOriginal(
  context: StoreContext,
  id: string,
  known?: UploadInfo,
): Promise<ObjectHead | undefined> {
  const { key, imported } = await locateOriginal(context, id, known);
  const head = await headIfExists(context, key, 'the original');
  if (head !== undefined) assertUnchanged(imported, head);
  return head;
}

/** What a client has sent in one piece. */
export function headStaged(context: StoreContext, id: string): Promise<ObjectHead | undefined> {
  return headIfExists(context, context.keys.staged(id), 'the staged object');
}

/** Undefined: there is no such multipart upload (any more). */
export async function listAllParts(
  context: StoreContext,
  id: string,
  multipartId: string,
): Promise<Map<number, ListedPart> | undefined> {
  const { s3, keys, environment, retry } = context;
  const parts = new Map<number, ListedPart>();
  try {
    for (let after: number | undefined = 0; after !== undefined; ) {
      const from: number = after;
      const page = await withRetries(environment, retry, () =>
        s3.listParts(keys.original(id), multipartId, from),
      );
      for (const part of page.parts) parts.set(part.partNumber, part);
      after = page.nextAfter;
    }
    return parts;
  } catch (error) {
    if (isS3Failure(error, 'no_such_upload')) return undefined;
    throw toStoreError(error, 'listing parts');
  }
}

export async function listTails(context: StoreContext, id: string): Promise<Tail[]> {
  const { s3, keys, environment, retry } = context;
  const tails: Tail[] = [];
  let continuation: string | undefined;
  try {
    do {
      const request = { prefix: keys.tails(id), ...(continuation === undefined ? {} : { continuation }) };
      const page = await withRetries(environment, retry, () => s3.listObjects(request));
      for (const { key } of page.objects) {
        const tail = keys.parseTail(id, key);
        if (tail !== undefined) tails.push(tail);
      }
      continuation = page.continuation;
    } while (continuation !== undefined);
  } catch (error) {
    throw toStoreError(error, 'listing tails');
  }
  return tails;
}

async function listStored(context: StoreContext, id: string, multipartId: string) {
  if (context.rules.tailsFirst) {
    const tails = await listTails(context, id);
    return { tails, parts: await listAllParts(context, id, multipartId) };
  }
  const parts = await listAllParts(context, id, multipartId);
  return { tails: await listTails(context, id), parts };
}

async function assemble(
  context: StoreContext,
  seen: InfoVersion,
  listed: Map<number, ListedPart>,
  tails: Tail[],
): Promise<GridState> {
  const { rules } = context;
  const sizes = { get: (partNumber: number) => listed.get(partNumber)?.size };
  let version = seen;
  let partCount = contiguousParts(gridOf(version.info), sizes);
  const next = listed.get(partCount + 1);
  if (version.info.size === null && next !== undefined && rules.rereadLength) {
    // A short part is stored only after the length: it was declared since we looked.
    version = await readLiveInfo(context, seen.info.id);
    if (version.info.multipartId !== seen.info.multipartId) throw changed();
    partCount = contiguousParts(gridOf(version.info), sizes);
  }
  if (!rules.exactPartSize) while (listed.has(partCount + 1)) partCount += 1;
  const grid = gridOf(version.info);
  const end = endOfParts(grid, partCount);
  const parts = new Map<number, ListedPart>();
  for (const [partNumber, part] of listed) {
    if (partNumber <= partCount || !rules.dropBeyondHole) parts.set(partNumber, part);
  }
  const { tail, deadTails } = chooseTail(tails, end, grid);
  return {
    version,
    parts,
    partCount,
    tail,
    deadTails,
    offset: end + (tail?.length ?? 0),
    isComplete: false,
  };
}

/** The longest tail at the end of the parts. Two tails of one length with different bytes: a client changed them. */
function chooseTail(tails: Tail[], end: number, grid: Grid): { tail: Tail | undefined; deadTails: string[] } {
  let best: Tail | undefined;
  const here = tails.filter(
    (tail) =>
      tail.base === end &&
      tail.length <= grid.partSize &&
      (grid.size === null || tail.base + tail.length <= grid.size),
  );
  const hashes = new Map<number, string>();
  for (const tail of here) {
    const known = hashes.get(tail.length);
    if (known !== undefined && known !== tail.hash) {
      throw new StoreError('upload_damaged', `two different tails of ${tail.length} bytes at ${tail.base}`);
    }
    hashes.set(tail.length, tail.hash);
    if (best === undefined || tail.length > best.length) best = tail;
  }
  const deadTails = tails
    .filter(
      (tail) => tail.base < end || (tail.base === end && best !== undefined && tail.length < best.length),
    )
    .map((tail) => tail.name);
  return { tail: best, deadTails };
}

/** ListParts said NoSuchUpload: completed, deleted, or a bucket that lost it. Never taken for "finished" as such. */
async function withoutMultipart(context: StoreContext, seen: InfoVersion): Promise<GridState> {
  const { id } = seen.info;
  const head = await headOriginal(context, id);
  if (head === undefined && !context.rules.recheckMissing) throw goneError();
  const version = await readLiveInfo(context, id);
  if (head === undefined || version.info.size === null) {
    throw new StoreError('store_unavailable', 'the multipart upload is missing and there is no original yet');
  }
  if (head.size !== version.info.size) throw wrongSize(id);
  return { ...emptyState(version), parts: undefined, offset: version.info.size, isComplete: true };
}

/** Nothing of ours is missing: its owner may bring it back. */
function importedGone(key: string): StoreError {
  return new StoreError('upload_gone', `the imported object ${key} was removed by its owner`);
}

function changed(): StoreError {
  return new StoreError('store_unavailable', 'the upload changed while it was being read');
}

function wrongSize(id: string): StoreError {
  return new StoreError('upload_damaged', `the original of ${id} does not have the size of the upload`);
}
