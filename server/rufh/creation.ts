import { isStoreError } from '../../stores/errors.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { HttpError } from '../errors.ts';
import type { Reply } from '../tus/reply.ts';
import type { NewUpload } from '../uploads/create-upload.ts';
import { planUpload } from '../uploads/plan-upload.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { RufhContent, RufhExchange } from './exchange.ts';
import { sendInterim } from './interim.ts';
import {
  agreeOnLength,
  missingCompleteness,
  readBodyBytes,
  readCompleteness,
  readContentChecksum,
  readCreationDigest,
  readMetadata,
  refuseContentCoding,
} from './request-headers.ts';

/** "Upload Creation": a request that says `Upload-Complete` makes an upload, whatever part of it comes with it. */
export async function answerCreation(exchange: RufhExchange): Promise<Reply> {
  const { services, known } = exchange;
  const { version, raw, res, client, takesInterim } = exchange.request;
  const { headers } = raw;
  const completes = readCompleteness(version, headers);
  if (completes === undefined) throw missingCompleteness(version.completeness);
  refuseContentCoding(headers);
  const rawMetadata = readMetadata(headers);
  const declaredDigest = readCreationDigest(headers, { completes, rawMetadata });
  // Of a creation that has everything, it is the digest of the whole.
  const checksum = completes ? undefined : readContentChecksum(headers);
  const size = agreeOnLength(headers, { offset: 0, size: undefined, completes });
  services.policy.checkSize(size ?? readBodyBytes(headers) ?? 0);

  const wanted: NewUpload = { size, rawMetadata, declaredDigest, client };
  const { id, fields } = await planUpload(services, raw, wanted);
  exchange.hold = new UploadHold(services, id, raw);
  await exchange.hold.lock(raw.socket);
  const upload = await exchange.hold.create(fields, readBodyBytes(headers), { finishes: false });
  known.location = exchange.request.location(upload.id);
  exchange.learn(upload);
  if (takesInterim) {
    // "When sent, it MUST include Location […] and MUST include the Upload-Limit header field".
    sendInterim(raw, res, {
      'Upload-Draft-Interop-Version': String(version.interop),
      Location: known.location,
      ...(known.limit === undefined ? {} : { 'Upload-Limit': known.limit }),
    });
  }
  await receiveFirst(exchange, upload, { size, checksum });
  return exchange.settle(upload, completes, 201);
}

/** What a creation made, and told nobody of, is taken back when nothing of its content could be kept. */
async function receiveFirst(
  exchange: RufhExchange,
  upload: StoredUpload,
  content: RufhContent,
): Promise<void> {
  try {
    await exchange.receive(upload, content);
  } catch (error) {
    const isUseless = error instanceof HttpError && error.code === 'digest_mismatch';
    const isFull = isStoreError(error, 'storage_full') && !exchange.request.takesInterim;
    if (isUseless || isFull) {
      exchange.known.offset = undefined;
      await exchange.hold.discard().catch(() => {});
    }
    throw error;
  }
}
