import { StoreError } from '../errors.ts';
import { objectAttributes } from './attributes.ts';
import type { StoreContext } from './context.ts';
import { nameTail, type Tail } from './grid.ts';
import type { InfoVersion, UploadInfo } from './info.ts';
import type { PartBuffer } from './part-buffer.ts';
import type { ObjectAttributes } from './port.ts';
import { isS3Failure, type ListedPart, S3PortError } from './port.ts';
import { toStoreError, withRetries } from './retry.ts';

/** Stores part `partNumber`. Every repetition stores the same bytes, so it is retried without fear. */
export async function storePart(
  context: StoreContext,
  info: UploadInfo,
  partNumber: number,
  buffer: PartBuffer,
  lost: AbortSignal,
): Promise<ListedPart> {
  const { s3, keys, environment, retry } = context;
  const multipartId = info.multipartId;
  if (multipartId === null) throw new Error('a part is stored before its multipart upload is recorded');
  const body = await buffer.body();
  const upload = async () => {
    try {
      return await s3.uploadPart(keys.original(info.id), multipartId, partNumber, body);
    } catch (error) {
      buffer.taint();
      throw error;
    }
  };
  try {
    const { etag } = await withRetries(environment, retry, upload, lost);
    return { partNumber, size: body.length, etag };
  } catch (error) {
    throw toStoreError(error, `storing part ${partNumber}`);
  }
}

/** Stores what was gathered as the tail at `base`. The name says what is inside: retries do no harm. */
export async function storeTail(
  context: StoreContext,
  id: string,
  base: number,
  buffer: PartBuffer,
  lost: AbortSignal,
): Promise<Tail> {
  const { s3, keys, environment, retry, rules } = context;
  const hash = rules.hashInTailName ? await buffer.hash() : '0'.repeat(16);
  const tail: Tail = nameTail(base, buffer.length, hash);
  const body = await buffer.body();
  const put = async () => {
    try {
      return await s3.putObject({ key: keys.tail(id, tail.name), body });
    } catch (error) {
      buffer.taint();
      throw error;
    }
  };
  try {
    await withRetries(environment, retry, put, lost);
    return tail;
  } catch (error) {
    throw toStoreError(error, 'storing the tail');
  }
}

/** Appends bytes `start` to `end` (inclusive) of an object to a buffer that has room for them. Rejects as the port does. */
export async function appendRange(
  { s3 }: StoreContext,
  key: string,
  range: { start: number; end: number },
  buffer: PartBuffer,
): Promise<void> {
  const wantedLength = buffer.length + range.end - range.start + 1;
  const body = await s3.streamObject(key, range);
  try {
    for await (const chunk of body) {
      if (!buffer.append(chunk as Buffer)) {
        await new Promise<void>((resolve) => {
          buffer.onDrain = resolve;
        });
        buffer.onDrain = undefined;
      }
    }
  } catch (cause) {
    throw new S3PortError('ambiguous', 'the object could not be read to its end', { cause });
  }
  if (buffer.length !== wantedLength) throw new S3PortError('ambiguous', 'the object was cut short');
}

/**
 * Reads a tail back into an empty buffer, and compares it with its name. A tail that is not there means that the
 * state we hold is old: store_unavailable, and the cache entry goes.
 */
export async function loadTail(
  context: StoreContext,
  id: string,
  tail: Tail,
  buffer: PartBuffer,
): Promise<void> {
  const { keys, environment, retry, rules, cache } = context;
  const load = async () => {
    await buffer.reset();
    await appendRange(context, keys.tail(id, tail.name), { start: 0, end: tail.length - 1 }, buffer);
  };
  try {
    await withRetries(environment, retry, load);
  } catch (error) {
    if (isS3Failure(error, 'not_found')) await cache.drop(id);
    throw toStoreError(error, 'reading the tail');
  }
  if (rules.hashInTailName && (await buffer.hash()) !== tail.hash) {
    throw new StoreError('upload_damaged', `the bytes of tail ${tail.name} do not match its name`);
  }
}

/** Deletes tails that something else covers. What fails is left for completion or the sweep. */
export async function deleteTails(
  context: StoreContext,
  id: string,
  names: readonly string[],
): Promise<boolean> {
  const { s3, keys, environment, retry } = context;
  try {
    for (let start = 0; start < names.length; start += 1000) {
      const page = names.slice(start, start + 1000).map((name) => keys.tail(id, name));
      await withRetries(environment, retry, () =>
        page.length === 1 ? s3.deleteObject(page[0] as string) : s3.deleteObjects(page),
      );
    }
    return true;
  } catch {
    return false;
  }
}

/**
 * Creates the multipart upload and records it, together with the part size, in one conditional PUT. Until that
 * has succeeded no part is stored (the parts of a direct upload say what their size is, later). When the outcome is not known nothing is aborted: the record may still land.
 */
export async function recordMultipart(
  context: StoreContext,
  from: InfoVersion,
  partSize: number | null,
): Promise<InfoVersion> {
  const { s3, keys, environment, retry, infos, rules } = context;
  const { id } = from.info;
  const attributes: ObjectAttributes = objectAttributes(from.info.rawMetadata);
  let multipartId: string;
  try {
    ({ multipartId } = await withRetries(environment, retry, () =>
      s3.createMultipartUpload(keys.original(id), attributes),
    ));
  } catch (error) {
    throw toStoreError(error, 'creating the multipart upload');
  }
  const abortOrphan = () => s3.abortMultipartUpload(keys.original(id), multipartId).catch(() => undefined);
  let isDefiniteLoss = false;
  try {
    return await infos.change(from, (info) => {
      if (info.multipartId === multipartId) return undefined;
      isDefiniteLoss = info.state !== 'open' || info.multipartId !== null;
      if (info.state !== 'open') throw new StoreError('upload_gone', 'the upload is no longer open');
      if (info.multipartId !== null && rules.gridSetOnce) {
        throw new StoreError('store_unavailable', 'another request has started this upload');
      }
      return { ...info, multipartId, partSize };
    });
  } catch (error) {
    if (isDefiniteLoss || !rules.abortOnlyDefiniteLoss) await abortOrphan();
    throw error;
  }
}
