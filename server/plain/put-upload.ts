import type { IncomingMessage } from 'node:http';
import { HttpError } from '../errors.ts';
import { hasBody, mediaTypeOf, readContentLength } from '../tus/tus-headers.ts';
import type { NewUpload } from '../uploads/create-upload.ts';
import { parseDigestField } from '../uploads/digest-fields.ts';
import { describeUpload, parseUploadMetadata } from '../uploads/metadata.ts';
import { planUpload } from '../uploads/plan-upload.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { metadataHeader } from './plain-metadata.ts';
import { concludeFile, type PlainRequest, type StoredFile } from './plain-request.ts';

/** curl says this of any body that it sends with --data-binary: it tells nothing of a file. */
const FORM_DATA_OF_CURL = 'application/x-www-form-urlencoded';
const METADATA_PARAMETER = 'metadata.';

/**
 * `PUT <base path>?filename=…`: the body is the file, whole and in this one request. What does not arrive completely
 * is removed again, since nobody is told where it is.
 *
 * @throws StoreError; HttpError
 */
export async function putUpload(services: UploadServices, request: PlainRequest): Promise<StoredFile> {
  const { raw } = request;
  checkHeaders(raw);
  const { id, fields } = await planUpload(services, raw, newUploadOf(request));
  const hold = new UploadHold(services, id, raw);
  await hold.lock(raw.socket);
  try {
    await hold.create(fields, fields.size, { finishes: false, isUntold: true });
    await receiveBody(services, hold, raw);
    return await concludeFile(hold, request);
  } catch (error) {
    if (hold.upload !== undefined) await discard(services, hold);
    throw error;
  } finally {
    await hold.unlock();
  }
}

/** Removes an upload that failed. What cannot be removed now expires, and its failure is not what the client is told. */
export async function discard({ log }: UploadServices, hold: UploadHold): Promise<void> {
  await hold.discard().catch((error: unknown) => {
    log.warn({ uploadId: hold.id, error }, 'removing an upload that failed was not possible');
  });
}

async function receiveBody(
  { policy }: UploadServices,
  hold: UploadHold,
  raw: IncomingMessage,
): Promise<void> {
  if (!hasBody(raw.headers)) return;
  const length = readContentLength(raw.headers);
  const limit = length ?? policy.maxSizeBytes ?? Number.MAX_SAFE_INTEGER;
  const end = await hold.receive(raw, { limit, expectedBytes: length, finishes: false });
  if (end === 'limit') policy.checkSize(limit + 1);
  if (end !== 'end') throw hold.unfinishedBody(end);
}

function checkHeaders({ headers }: IncomingMessage): void {
  // RFC 9110, 14.5: a Content-Range in a PUT that is not understood as a part would overwrite the whole.
  if (headers['content-range'] !== undefined) {
    throw new HttpError('invalid_request', { message: 'A PUT takes a whole file, not a range of one.' });
  }
  const coding = headers['content-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'identity') {
    throw new HttpError('unsupported_content_coding');
  }
  if (mediaTypeOf(headers) === 'multipart/form-data') {
    throw new HttpError('unsupported_media_type', { message: 'Forms are sent by POST: a PUT is one file.' });
  }
}

function newUploadOf({ raw, client }: PlainRequest): NewUpload {
  const { headers } = raw;
  const rawMetadata = metadataHeader(metadataOf(raw));
  const declared = describeUpload(parseUploadMetadata(rawMetadata)).declaredSha256Hex;
  const fromHeader =
    parseDigestField('Repr-Digest', headers['repr-digest']) ??
    parseDigestField('Content-Digest', headers['content-digest']);
  return {
    // No length and no transfer coding: there is no body (RFC 9112, 6.3).
    size: hasBody(headers) ? readContentLength(headers) : 0,
    rawMetadata,
    declaredDigest: fromHeader ?? (declared === null ? undefined : { algorithm: 'sha-256', hex: declared }),
    client,
  };
}

/** `filename` and `metadata.<key>` of the query; other parameters (a proxy's token) are none of our business. */
function metadataOf({ url, headers }: IncomingMessage): Map<string, string> {
  const metadata = new Map<string, string>();
  const type = headers['content-type'];
  if (type !== undefined && mediaTypeOf(headers) !== FORM_DATA_OF_CURL) metadata.set('filetype', type);
  const query = new URLSearchParams((url ?? '').split('?').slice(1).join('?'));
  for (const [name, value] of query) {
    const key = name.startsWith(METADATA_PARAMETER) ? name.slice(METADATA_PARAMETER.length) : undefined;
    if (key !== undefined) metadata.set(key, value);
    else if (name === 'filename') metadata.set(name, value);
  }
  return metadata;
}
