import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { DirectUpload, DirectUploads } from '../../stores/direct-types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { HttpError } from '../errors.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import type { DirectClient } from './create.ts';
import { comparePartLists, type NamedPart, totalBytes } from './part-rules.ts';

/**
 * The client has sent all of it: what is stored is compared with what it says and may have, and the upload is finished
 * as any other. Once that has begun, asking again gives the same answer, whatever is named then.
 *
 * @param named undefined: it is no multipart upload
 * @throws StoreError; HttpError parts_mismatch, upload_unfinished, size_limit, type_not_allowed, checksum_mismatch,
 *   upload_rejected
 */
export async function completeDirectUpload(
  services: UploadServices,
  direct: DirectUploads,
  { id }: DirectUpload,
  named: readonly NamedPart[] | undefined,
  raw: DirectClient['raw'],
): Promise<UploadRecord> {
  const hold = new UploadHold(services, id, raw);
  try {
    await hold.lock(raw.socket);
    const upload = await hold.open({ for: 'read' }, { finishes: false });
    const found = direct.describe(upload);
    if (!found.isSealed) {
      const bytes = named === undefined ? singleBytes(upload) : partBytes(direct, upload, found, named);
      await refuseTooLarge(services, hold, bytes);
      await hold.seal();
    }
    const record = await hold.conclude();
    hold.refuseMismatch();
    return record ?? (await hold.record());
  } finally {
    await hold.unlock();
  }
}

/**
 * Gives up an upload that is not complete.
 *
 * @throws StoreError; HttpError upload_completed
 */
export async function abortDirectUpload(
  services: UploadServices,
  direct: DirectUploads,
  { id }: DirectUpload,
  raw: DirectClient['raw'],
): Promise<void> {
  const hold = new UploadHold(services, id, raw);
  try {
    await hold.lock(raw.socket);
    const upload = await hold.open({ for: 'read' }, { finishes: false });
    if (direct.describe(upload).isSealed) throw new HttpError('upload_completed');
    await hold.terminate();
  } finally {
    await hold.unlock();
  }
}

function singleBytes(upload: StoredUpload): number {
  if (upload.isFull) return upload.offset;
  throw new HttpError('upload_unfinished', {
    message: 'No object of the declared size was sent yet. Send it, and then complete the upload.',
  });
}

function partBytes(
  direct: DirectUploads,
  upload: StoredUpload,
  { size }: DirectUpload,
  named: readonly NamedPart[],
): number {
  const stored = direct.partsOf(upload);
  comparePartLists(named, stored);
  const bytes = totalBytes(stored);
  if (size === undefined || size === bytes) return bytes;
  throw new HttpError('parts_mismatch', {
    message: `The parts have ${bytes} bytes together, and the upload was declared with ${size}.`,
  });
}

/** Nothing that its client can do makes it smaller: it goes. */
async function refuseTooLarge({ policy }: UploadServices, hold: UploadHold, bytes: number): Promise<void> {
  try {
    policy.checkSize(bytes);
  } catch (error) {
    await hold.remove('Larger than this server accepts.');
    throw error;
  }
}
