import { Readable } from 'node:stream';
import { abortDirectUpload } from './direct-requests.ts';
import { ClientError, isClientError } from './errors.ts';
import { type ConnectionOptions, openSession, type UploadOptions, type UploadResult } from './options.ts';
import type { ResumeStore, UnfinishedUpload } from './resume-store.ts';
import { withRetries } from './retry.ts';
import { uploadUrlOf } from './server-address.ts';
import { bytesSource, isSameSource, openFileSource, type UploadSource } from './source.ts';
import { deleteTusUpload } from './tus-requests.ts';
import { uploadSource } from './upload.ts';
import { uploadStream } from './upload-stream.ts';

/** A file by its path or `file:` URL, bytes, a stream, or anything that can be read at any place. */
export type Uploadable = string | URL | Uint8Array | Readable | UploadSource;

/**
 * Uploads, and resolves when all of it is stored (with `checksum`: and verified). With a `store`, what an earlier run
 * left unfinished is gone on with, if the file has not changed since.
 *
 * ```ts
 * import { createResumeStore, upload } from 'landfall/client';
 *
 * const { url } = await upload('video.mov', {
 *   server: 'http://127.0.0.1:1080',
 *   checksum: 'sha256',
 *   store: createResumeStore('.landfall'),
 *   onProgress: ({ bytes, totalBytes }) => console.log(bytes, totalBytes),
 * });
 * ```
 *
 * @throws ClientError; RangeError for options that are out of range
 */
export async function upload(source: Uploadable, options: UploadOptions): Promise<UploadResult> {
  if (source instanceof Readable) return uploadStream(source, options);
  if (source instanceof Uint8Array) return uploadSource(bytesSource(source), options);
  if (typeof source !== 'string' && !(source instanceof URL)) return uploadSource(source, options);
  const file = await openFileSource(source);
  try {
    return await uploadSource(file, options);
  } finally {
    await file.close();
  }
}

/**
 * Goes on with an unfinished upload of `options.store`, as it was begun: `unfinished` is one of its `list()`.
 *
 * @throws ClientError not_remembered: it is finished, or there was none; source_changed: the file is not the same any more
 */
export async function resume(
  unfinished: UnfinishedUpload,
  options: Omit<UploadOptions, 'server' | 'basePath' | 'metadata' | 'parallel' | 'chunkSize'> & {
    store: ResumeStore;
  },
): Promise<UploadResult> {
  const { root, files, source } = unfinished;
  const isRemembered = (await options.store.list()).some(
    (other) => other.files === files && isSameSource(other.source, source),
  );
  if (!isRemembered)
    throw new ClientError('not_remembered', `there is no unfinished upload of ${source.path}`);
  const file = await openFileSource(source.path);
  try {
    if (file.identity === undefined || !isSameSource(file.identity, source)) {
      throw new ClientError('source_changed', `${source.path} was changed since its upload began`);
    }
    return await uploadSource(file, { ...options, server: root, basePath: files.slice(root.length) });
  } finally {
    await file.close();
  }
}

/**
 * Gives an unfinished upload up: deletes what the server has of it, and forgets it.
 *
 * @throws ClientError in_use: it is being gone on with
 */
export async function abandon(
  unfinished: UnfinishedUpload,
  options: Omit<ConnectionOptions, 'server' | 'basePath'> & { store: ResumeStore },
): Promise<void> {
  const { root, files, source, parts, direct } = unfinished;
  const session = openSession({ ...options, server: root, basePath: files.slice(root.length) });
  const claim = await options.store.claim(files, source.path);
  try {
    if (direct !== null) await ignoreGone(abortDirectUpload(session, direct));
    for (const { url } of parts) {
      if (url === null) continue;
      await ignoreGone(withRetries(session.retry, () => deleteTusUpload(session.connection, url)));
    }
    await claim.remove();
  } finally {
    await claim.release();
    session.close();
  }
}

async function ignoreGone(deleting: Promise<void>): Promise<void> {
  await deleting.catch((error: unknown) => {
    if (!isClientError(error, 'upload_gone')) throw error;
  });
}

/** Deletes an upload, finished or not. @throws ClientError upload_gone, … */
export async function abortUpload(idOrUrl: string, options: ConnectionOptions): Promise<void> {
  const session = openSession(options);
  try {
    const url = uploadUrlOf(session.address, idOrUrl);
    await withRetries(session.retry, () => deleteTusUpload(session.connection, url));
  } finally {
    session.close();
  }
}
