import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { Digest, StoredUpload } from '../../stores/stored-upload.ts';
import { HttpError } from '../errors.ts';
import type { Reply } from '../tus/reply.ts';
import { hasBody, mediaTypeOf } from '../tus/tus-headers.ts';
import { parseDigestField } from '../uploads/digest-fields.ts';
import { PARTIAL_UPLOAD_TYPE } from './detect.ts';
import type { RufhExchange, RufhRequest } from './exchange.ts';
import {
  agreeOnLength,
  missingCompleteness,
  readBodyBytes,
  readCompleteness,
  readContentChecksum,
} from './request-headers.ts';
import { parseCountItem } from './structured-fields.ts';

/** "Upload Append" */
export async function answerAppend(exchange: RufhExchange): Promise<Reply> {
  const { services, known, hold } = exchange;
  const { version, raw } = exchange.request;
  const { headers } = raw;
  const requestOffset = parseCountItem(headers['upload-offset']);
  if (requestOffset === undefined) throw new HttpError('invalid_offset_header');
  known.requestOffset = requestOffset;
  const completes = appendCompletes(exchange.request);
  if (version.hasPartialUploadType && mediaTypeOf(headers) !== PARTIAL_UPLOAD_TYPE) {
    throw new HttpError('unsupported_media_type', {
      message: `The Content-Type of an append must be ${PARTIAL_UPLOAD_TYPE}.`,
    });
  }
  const checksum = readContentChecksum(headers);
  const digest = completes ? parseDigestField('Repr-Digest', headers['repr-digest']) : undefined;

  await hold.lock(raw.socket);
  const { upload, record } = await exchange.open({ for: 'write', requestOffset });
  // "the server MUST reject the request with a 409 (Conflict) status code and the Upload-Complete header field
  // set to false. The response MUST include the correct offset".
  if (upload.offset !== requestOffset) {
    known.isComplete = false;
    throw new HttpError('offset_mismatch');
  }
  if (record !== undefined && known.isComplete) return replay(exchange, record, digest);

  const { offset } = upload;
  const size = agreeOnLength(headers, { offset, size: upload.size, completes });
  services.policy.checkSize(size ?? offset + (readBodyBytes(headers) ?? 0));
  if (digest !== undefined) await declareDigest(exchange, upload, digest);
  // What has to be verified first changes nothing before that.
  const declaresLater = checksum !== undefined && hasBody(headers);
  if (size !== undefined && upload.size === undefined && !declaresLater) await hold.declareLength(size);
  await exchange.receive(upload, { size, checksum });
  if (size !== undefined && upload.size === undefined) await hold.declareLength(size);
  return exchange.settle(upload, completes, version.appendStatus);
}

/**
 * An append to a complete upload: one without content asks for the final answer again, because it was lost or
 * because the upload was completed without it ("The server can choose to replay the final response").
 */
function replay(exchange: RufhExchange, record: UploadRecord, digest: Digest | undefined): Reply {
  const { headers } = exchange.request.raw;
  if (hasBody(headers)) {
    exchange.known.isComplete = false;
    throw new HttpError('upload_completed');
  }
  agreeOnLength(headers, { offset: record.offset, size: record.size ?? record.offset, completes: true });
  const digestHex = record.sha256 ?? record.declaredSha256;
  if (digest !== undefined && digestHex === null) throw new HttpError('digest_too_late');
  if (digest !== undefined && digest.hex !== digestHex) throw new HttpError('digest_mismatch');
  return exchange.completed(record);
}

async function declareDigest(
  { hold }: RufhExchange,
  { declaredDigest }: StoredUpload,
  digest: Digest,
): Promise<void> {
  if (declaredDigest === undefined) await hold.declareDigest(digest);
  else if (declaredDigest.hex !== digest.hex) {
    throw new HttpError('invalid_checksum', {
      message: 'Repr-Digest is not the digest that was declared for this upload before.',
    });
  }
}

function appendCompletes({ version, raw }: RufhRequest): boolean {
  const completes = readCompleteness(version, raw.headers);
  if (completes !== undefined) return completes;
  if (version.appendWithoutCompleteness === 'refused') throw missingCompleteness(version.completeness);
  return version.appendWithoutCompleteness === 'complete';
}
