import type {
  DirectLimits,
  DirectUpload,
  DirectUploads,
  SignedForm,
  SignedRequest,
} from '../../stores/direct-types.ts';
import { HttpError } from '../errors.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { highestPart, lengthOfPart, totalBytes } from './part-rules.ts';

export interface SignServices extends Pick<UploadServices, 'catalog' | 'policy'> {
  direct: DirectUploads;
  /** How long what is signed is valid, in milliseconds. */
  urlExpiryMs: number;
}

/** Of so many parts in a row, before one is signed what is stored is counted: a client that sends too much hears of it. */
const COUNT_EVERY = 16;

/**
 * Signs for parts, in the order of their numbers. What is signed for is never more than the upload may have: its
 * number of parts, and where the client has declared both its length and that of a part, the length of each.
 *
 * @throws StoreError; HttpError upload_completed, part_out_of_range, size_limit
 */
export async function signParts(
  services: SignServices,
  upload: DirectUpload,
  partNumbers: readonly number[],
): Promise<SignedRequest[]> {
  const { direct, policy, urlExpiryMs } = services;
  if (upload.isSealed) throw new HttpError('upload_completed');
  const bounds = { ...upload, maxSizeBytes: policy.maxSizeBytes };
  checkNumbers(partNumbers, highestPart(bounds, direct.limits));
  if (partNumbers.some((partNumber) => partNumber > 1 && partNumber % COUNT_EVERY === 1)) {
    await checkStoredBytes(services, upload);
  }
  await keepAlive(services, upload);
  return Promise.all(
    partNumbers.map((partNumber) => {
      const bytes = lengthOfPart(bounds, partNumber);
      return direct.signPart(upload, partNumber, { expiresMs: urlExpiryMs, bytes });
    }),
  );
}

/** Signs for the whole object. Throws HttpError upload_completed, direct_needs_multipart; StoreError. */
export async function signSingle(
  services: SignServices,
  upload: DirectUpload,
  method: 'POST' | 'PUT',
): Promise<SignedForm | SignedRequest> {
  const { direct, policy } = services;
  const expiresMs = singleExpiryMs(services);
  if (upload.isSealed) throw new HttpError('upload_completed');
  await keepAlive(services, upload);
  if (method === 'PUT' && upload.size !== undefined) return direct.signPut(upload, { expiresMs });
  if (!direct.limits.hasForms) throw new HttpError('direct_needs_multipart');
  return direct.signForm(upload, { expiresMs, ...formRange(upload, policy.maxSizeBytes, direct.limits) });
}

/** How long what is signed for a whole object is valid, in milliseconds. */
export function singleExpiryMs({ direct, urlExpiryMs }: SignServices): number {
  return Math.min(urlExpiryMs, direct.limits.maxSingleExpiryMs);
}

function formRange(
  { size }: DirectUpload,
  maxSizeBytes: number | undefined,
  { maxSingleBytes }: DirectLimits,
): { minBytes: number; maxBytes: number } {
  if (size !== undefined) return { minBytes: size, maxBytes: size };
  return { minBytes: 0, maxBytes: Math.min(maxSizeBytes ?? maxSingleBytes, maxSingleBytes) };
}

function checkNumbers(partNumbers: readonly number[], highest: number): void {
  const wrong = partNumbers.find(
    (partNumber) => !Number.isSafeInteger(partNumber) || partNumber < 1 || partNumber > highest,
  );
  if (wrong === undefined) return;
  throw new HttpError('part_out_of_range', {
    message: `There is no part ${wrong}: this upload has parts 1 to ${highest} at most.`,
  });
}

async function checkStoredBytes({ direct, policy }: SignServices, upload: DirectUpload): Promise<void> {
  const mostBytes = upload.size ?? policy.maxSizeBytes;
  if (mostBytes === undefined || upload.partSize !== undefined) return;
  if (totalBytes(await direct.listParts(upload)) <= mostBytes) return;
  throw new HttpError('size_limit', {
    message: `The parts that are stored have more than the ${mostBytes} bytes that this upload may have.`,
  });
}

/** The record follows: the sweep goes by it first. */
async function keepAlive({ direct, catalog }: SignServices, upload: DirectUpload): Promise<void> {
  const expiresAtMs = await direct.keepAlive(upload);
  if (expiresAtMs !== upload.expiresAtMs) {
    // One that is finished by now keeps what its end has set.
    await catalog.transition(upload.id, 'receiving', 'receiving', { expiresAtMs: expiresAtMs ?? null });
  }
}
