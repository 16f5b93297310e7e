import { StoreError } from '../errors.ts';
import type { ImportingStore, ImportOutcome, ImportSource } from '../import-types.ts';
import { importedId, importedMetadata, isImportedId, newImportSecret } from '../imported-id.ts';
import { StoredUpload } from '../stored-upload.ts';
import { isUploadId } from '../upload-id.ts';
import type { StoreContext } from './context.ts';
import type { ImportedObject, InfoVersion, UploadInfo } from './info.ts';
import { newInfo } from './new-info.ts';
import { headIfExists } from './object-reader.ts';
import { isS3Failure, type ListObjectsPage, type ObjectHead } from './port.ts';
import { toStoreError, withRetries } from './retry.ts';

/** What a bucket says of an object that nobody told it the type of. */
const NO_TYPES = new Set(['binary/octet-stream', 'application/octet-stream']);

/**
 * Uploads whose original is somebody else's object: `<prefix><id>.info` names its key and entity tag, and that is all
 * that is ever written. The object is read where it is, never changed, and stays when the upload is deleted; the
 * tombstone stays, too, so that another import does not bring the upload back. An object that was replaced is another
 * one: the old upload is damaged, and the next import makes a new upload of the new content.
 *
 * Ids come from a secret beside the uploads, `<prefix>landfall-import.key`, which is made once by conditional PUT.
 */
export function createImporting(
  context: StoreContext,
  toStoredUpload: (version: InfoVersion) => StoredUpload,
): ImportingStore {
  const { s3, keys, infos, environment, retry } = context;
  const secretKey = `${keys.prefix}landfall-import.key`;
  let secret: Promise<string> | undefined;

  async function run<T>(doing: string, call: () => Promise<T>): Promise<T> {
    try {
      return await withRetries(environment, retry, call);
    } catch (error) {
      throw toStoreError(error, doing);
    }
  }

  async function readSecret(): Promise<string | undefined> {
    try {
      const { body } = await withRetries(environment, retry, () => s3.getObject(secretKey));
      return body.toString('utf8');
    } catch (error) {
      if (isS3Failure(error, 'not_found')) return undefined;
      throw toStoreError(error, 'reading the secret of imports');
    }
  }

  async function makeSecret(): Promise<string> {
    const known = await readSecret();
    if (known !== undefined) return known;
    const request = { key: secretKey, body: Buffer.from(newImportSecret()), ifNoneMatch: '*' as const };
    // Another process may have been faster: what is there counts.
    await withRetries(environment, retry, () => s3.putObject(request)).catch((error: unknown) => {
      if (!isS3Failure(error, 'precondition_failed'))
        throw toStoreError(error, 'making the secret of imports');
    });
    const made = await readSecret();
    if (made === undefined) throw new StoreError('store_unavailable', 'the secret of imports was not kept');
    return made;
  }

  function secretOnce(): Promise<string> {
    secret ??= makeSecret().catch((error: unknown) => {
      secret = undefined;
      throw error;
    });
    return secret;
  }

  async function readInfo(id: string): Promise<InfoVersion | undefined> {
    try {
      return await infos.read(id);
    } catch (error) {
      if (error instanceof StoreError && error.code === 'upload_not_found') return undefined;
      throw error;
    }
  }

  /** An original of ours has an info object. What only looks like one is somebody else's. */
  async function isOurs(key: string): Promise<boolean> {
    if (!key.startsWith(keys.prefix)) return false;
    const [first = '', second = ''] = key.slice(keys.prefix.length).split('/');
    const isNamedByUs =
      keys.parseInfo(key) !== undefined ||
      keys.parseStaged(key) !== undefined ||
      keys.parseTails(`${keys.prefix}${first}/`) !== undefined ||
      (first === 'previews' && isUploadId(second)) ||
      key === secretKey;
    if (isNamedByUs) return true;
    const id = keys.parseOriginal(key);
    return id !== undefined && (await readInfo(id)) !== undefined;
  }

  function outcomeOf({ version, isNew }: { version: InfoVersion; isNew: boolean }): ImportOutcome {
    if (version.info.state === 'gone') return { outcome: 'deleted' };
    return { outcome: isNew ? 'imported' : 'known', upload: toStoredUpload(version) };
  }

  return {
    async *list(where) {
      let continuation: string | undefined;
      do {
        const request = { prefix: where, ...(continuation === undefined ? {} : { continuation }) };
        const page: ListObjectsPage = await run('listing objects', () => s3.listObjects(request));
        for (const { key, size } of page.objects) {
          // Consoles make empty objects for folders.
          if (key.endsWith('/') || (await isOurs(key))) continue;
          yield { name: key, size };
        }
        continuation = page.continuation;
      } while (continuation !== undefined);
    },

    async adopt({ name: key }: ImportSource) {
      const head = await headIfExists(context, key, 'the object');
      if (head === undefined) return { outcome: 'gone' };
      const id = importedId(await secretOnce(), `${key}\n${head.etag}`);
      const known = await readInfo(id);
      if (known !== undefined) return outcomeOf({ version: known, isNew: false });
      const info = importedInfo(context, id, key, head);
      try {
        return outcomeOf({ version: await infos.create(info), isNew: true });
      } catch (error) {
        // Another import of the same object was faster, and its upload has changed since.
        const other = await readInfo(id);
        if (other === undefined) throw error;
        return outcomeOf({ version: other, isNew: false });
      }
    },
  };
}

function importedInfo(context: StoreContext, id: string, key: string, head: ObjectHead): UploadInfo {
  const contentType =
    head.contentType === undefined || NO_TYPES.has(head.contentType) ? undefined : head.contentType;
  const upload = new StoredUpload({
    id,
    size: head.size,
    offset: head.size,
    rawMetadata: importedMetadata(key, contentType),
    createdAtMs: head.modifiedAtMs,
    isComplete: true,
  });
  return {
    ...newInfo(upload, context),
    expiresAtMs: null,
    imported: { key, etag: head.etag },
    state: 'finishing',
  };
}

/** Where the original of an upload is. Costs nothing but for imported ones. */
export async function locateOriginal(
  context: StoreContext,
  id: string,
  known?: UploadInfo,
): Promise<{ key: string; imported: ImportedObject | undefined }> {
  const ours = { key: context.keys.original(id), imported: undefined };
  if (!isImportedId(id)) return ours;
  const info = known ?? (await context.infos.read(id)).info;
  // Of a deleted one nothing is served, although the object is still there.
  if (info.imported === undefined || info.state === 'gone') return ours;
  return { key: info.imported.key, imported: info.imported };
}

/** @throws StoreError upload_damaged when the object was replaced */
export function assertUnchanged(imported: ImportedObject | undefined, head: ObjectHead): void {
  if (imported === undefined || imported.etag === head.etag) return;
  throw new StoreError('upload_damaged', `the imported object ${imported.key} was replaced by its owner`);
}
