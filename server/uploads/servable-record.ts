import type { IncomingMessage } from 'node:http';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import { isPartialUpload } from '../../stores/concat-kind.ts';
import { isStoreError } from '../../stores/errors.ts';
import { HttpError } from '../errors.ts';
import type { WorkPlan } from '../pipeline/work-plan.ts';
import { recordOf } from './finish.ts';
import { UploadHold } from './upload-hold.ts';
import type { UploadServices } from './upload-services.ts';

/**
 * The record of an upload whose bytes are all there, whatever became of it.
 *
 * @throws HttpError upload_unfinished; StoreError
 */
export async function finishedRecord(
  services: UploadServices,
  id: string,
  req: IncomingMessage,
): Promise<UploadRecord> {
  const record = await services.catalog.get(id);
  return record === undefined || record.state === 'receiving' ? finishNow(services, id, req) : record;
}

/**
 * The same for who only wants the original; also while the catalog or the locks cannot be reached, where the store
 * alone can tell.
 *
 * @throws HttpError upload_unfinished; StoreError
 */
export async function finishedOriginal(
  services: UploadServices,
  id: string,
  req: IncomingMessage,
): Promise<UploadRecord> {
  try {
    return await finishedRecord(services, id, req);
  } catch (error) {
    if (!isStoreError(error, 'store_unavailable')) throw error;
    return recordByStore(services, id, error);
  }
}

/**
 * What was verified, or need not be, is served while its previews are still being made.
 *
 * @throws HttpError upload_unfinished, upload_pending, upload_unverified, upload_rejected, upload_gone
 */
export function assertServable(plan: WorkPlan, record: UploadRecord): void {
  if (plan.isServable(record)) return;
  switch (record.state) {
    case 'receiving':
      throw new HttpError('upload_unfinished');
    case 'received':
    case 'processing':
    case 'ready':
      throw new HttpError('upload_pending');
    case 'failed':
      throw new HttpError('upload_unverified');
    case 'rejected':
      throw new HttpError('upload_rejected', record.reason === null ? {} : { message: record.reason });
    case 'aborted':
    case 'expired':
      throw new HttpError('upload_gone');
  }
}

/**
 * The catalog may have lost its last rows in a crash, or all of them: the store decides. What is full there is
 * finished here, as a HEAD would do it, so that an upload which was announced as finished is served from the first
 * moment after a restart on.
 */
async function finishNow(
  services: UploadServices,
  id: string,
  { socket }: IncomingMessage,
): Promise<UploadRecord> {
  // Asked without the lock first: taking it would interrupt an upload that is being received.
  if (!(await services.store.getUpload(id)).isFull) throw new HttpError('upload_unfinished');
  const hold = new UploadHold(services, id);
  try {
    await hold.lock(socket);
    return await services.finisher.ensureRecord(await hold.open({ for: 'read' }));
  } finally {
    await hold.unlock();
  }
}

/**
 * What the store alone can say while the catalog or the locks cannot be reached: a finished upload whose content
 * nobody has to judge is served as ever. For any other one the catalog has the verdict.
 *
 * @param unreachable thrown where the catalog is needed
 * @throws HttpError upload_unfinished; StoreError
 */
async function recordByStore(
  { store, finisher, policy }: UploadServices,
  id: string,
  unreachable: unknown,
): Promise<UploadRecord> {
  const upload = await store.getUpload(id);
  if (!upload.isFull || isPartialUpload(upload.concat)) throw new HttpError('upload_unfinished');
  const isJudged = finisher.needsDigest(upload) || policy.headBytesOf(upload) > 0;
  if (isJudged || !upload.isComplete) throw unreachable;
  return { ...recordOf(upload), state: 'ready' };
}
