import type { IncomingMessage, ServerResponse } from 'node:http';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import { isStoreError } from '../../stores/errors.ts';
import type { Digest, StoredUpload } from '../../stores/stored-upload.ts';
import type { BodyChecksum, OpenIntent } from '../../stores/types.ts';
import { type ErrorCode, HttpError } from '../errors.ts';
import type { Reply } from '../tus/reply.ts';
import { hasBody, mediaTypeOf, readContentLength } from '../tus/tus-headers.ts';
import type { NewUpload } from '../uploads/create-upload.ts';
import { digestField, parseDigestField, wantsSha256 } from '../uploads/digest-fields.ts';
import { planUpload } from '../uploads/plan-upload.ts';
import { UploadHold, type UploadServices } from '../uploads/upload-hold.ts';
import { type KnownState, stateHeaders } from './answer.ts';
import { PARTIAL_UPLOAD_TYPE, type RufhDialect } from './detect.ts';
import { sendInterim } from './interim.ts';
import { uploadLimit } from './limits.ts';
import {
  agreeOnLength,
  readBodyBytes,
  readCompleteness,
  readContentChecksum,
  readCreationDigest,
  readMetadata,
  refuseContentCoding,
} from './request-headers.ts';
import { parseCountItem } from './structured-fields.ts';

export interface RufhRequest extends RufhDialect {
  method: string;
  /** '' is the base path; undefined cannot be an upload's address. */
  id: string | undefined;
  /** Whose request this is (server/policy/client-key.ts). */
  client: string;
  raw: IncomingMessage;
  res: ServerResponse;
  location(id: string): string;
}

/** Up to -05, HEAD and DELETE "MUST NOT include" these. */
const STATE_HEADERS = ['upload-offset', 'upload-complete', 'upload-incomplete', 'upload-length'];

/** How an upload that was rejected at its finish is answered, by the reason in its record. */
const REJECTIONS: Readonly<Record<string, ErrorCode>> = {
  checksum_mismatch: 'digest_mismatch',
  type_not_allowed: 'type_not_allowed',
};

/** The content of one request. */
interface RufhContent {
  /** Length of the upload, as this request and all before it tell it. */
  size: number | undefined;
  checksum: BodyChecksum | undefined;
}

export function allowedMethods(id: string | undefined): string[] {
  return id === '' ? ['POST', 'PUT'] : ['HEAD', 'PATCH', 'DELETE'];
}

/**
 * One request of the draft. Quotes are from revision -12, except where another one is named.
 *
 * The upload is the same as a tus one: same store, lock, records and finish. What this protocol adds is that the
 * client says when an upload is complete. That is not kept anywhere of its own: an upload of unknown length gets its
 * length by the completing request, and one of known length stays `receiving` in the catalog, though full, until it
 * comes (or until tus, a download or the sweep finishes it, since nothing could be added any more: "explicitly
 * marked as completed by the client or the server").
 */
export class RufhExchange {
  readonly known: KnownState = {
    offset: undefined,
    isComplete: false,
    location: undefined,
    limit: undefined,
    requestOffset: undefined,
  };
  readonly #services: UploadServices;
  readonly #request: RufhRequest;
  #hold: UploadHold;

  constructor(services: UploadServices, request: RufhRequest) {
    this.#services = services;
    this.#request = request;
    // A creation has no id yet: `#create` gets a hold of its own.
    this.#hold = new UploadHold(services, request.id ?? '', request.raw);
    this.known.limit = uploadLimit(request.version, {
      maxSizeBytes: services.policy.maxSizeBytes,
      remainingMs: undefined,
    });
  }

  /** @throws HttpError, StoreError */
  async run(): Promise<Reply> {
    const { method, id } = this.#request;
    if (this.#services.active.isDraining) throw new HttpError('shutting_down');
    if (id === undefined) throw new HttpError('upload_not_found');
    if (!allowedMethods(id).includes(method)) throw new HttpError('method_not_allowed');
    try {
      if (id === '') return await this.#create();
      if (method === 'PATCH') return await this.#append();
      return method === 'HEAD' ? await this.#retrieveOffset() : await this.#cancel();
    } finally {
      await this.#hold.unlock();
    }
  }

  /** "Upload Creation": a request that says `Upload-Complete` makes an upload, whatever part of it comes with it. */
  async #create(): Promise<Reply> {
    const { version, raw, res, client, takesInterim } = this.#request;
    const { headers } = raw;
    const completes = readCompleteness(version, headers);
    if (completes === undefined) throw missingCompleteness(version.completeness);
    refuseContentCoding(headers);
    const rawMetadata = readMetadata(headers);
    const declaredDigest = readCreationDigest(headers, { completes, rawMetadata });
    // Of a creation that has everything, it is the digest of the whole.
    const checksum = completes ? undefined : readContentChecksum(headers);
    const size = agreeOnLength(headers, { offset: 0, size: undefined, completes });
    this.#services.policy.checkSize(size ?? readBodyBytes(headers) ?? 0);

    const wanted: NewUpload = { size, rawMetadata, declaredDigest, client };
    const { id, fields } = await planUpload(this.#services, raw, wanted);
    this.#hold = new UploadHold(this.#services, id, raw);
    await this.#hold.lock(raw.socket);
    const upload = await this.#hold.create(fields, readBodyBytes(headers), { finishes: false });
    this.known.location = this.#request.location(upload.id);
    this.#learn(upload);
    if (takesInterim) {
      // "When sent, it MUST include Location […] and MUST include the Upload-Limit header field".
      sendInterim(raw, res, {
        'Upload-Draft-Interop-Version': String(version.interop),
        Location: this.known.location,
        ...(this.known.limit === undefined ? {} : { 'Upload-Limit': this.known.limit }),
      });
    }
    await this.#receiveFirst(upload, { size, checksum });
    return this.#settle(upload, completes, 201);
  }

  /** "Upload Append" */
  async #append(): Promise<Reply> {
    const { version, raw } = this.#request;
    const { headers } = raw;
    const requestOffset = parseCountItem(headers['upload-offset']);
    if (requestOffset === undefined) throw new HttpError('invalid_offset_header');
    this.known.requestOffset = requestOffset;
    const completes = this.#appendCompletes();
    if (version.hasPartialUploadType && mediaTypeOf(headers) !== PARTIAL_UPLOAD_TYPE) {
      throw new HttpError('unsupported_media_type', {
        message: `The Content-Type of an append must be ${PARTIAL_UPLOAD_TYPE}.`,
      });
    }
    const checksum = readContentChecksum(headers);
    const digest = completes ? parseDigestField('Repr-Digest', headers['repr-digest']) : undefined;

    await this.#hold.lock(raw.socket);
    const { upload, record } = await this.#open({ for: 'write', requestOffset });
    // "the server MUST reject the request with a 409 (Conflict) status code and the Upload-Complete header field
    // set to false. The response MUST include the correct offset".
    if (upload.offset !== requestOffset) {
      this.known.isComplete = false;
      throw new HttpError('offset_mismatch');
    }
    if (record !== undefined && this.known.isComplete) return this.#replay(record, digest);

    const { offset } = upload;
    const size = agreeOnLength(headers, { offset, size: upload.size, completes });
    this.#services.policy.checkSize(size ?? offset + (readBodyBytes(headers) ?? 0));
    if (digest !== undefined) await this.#declareDigest(upload, digest);
    // What has to be verified first changes nothing before that.
    const declaresLater = checksum !== undefined && hasBody(headers);
    if (size !== undefined && upload.size === undefined && !declaresLater)
      await this.#hold.declareLength(size);
    await this.#receive(upload, { size, checksum });
    if (size !== undefined && upload.size === undefined) await this.#hold.declareLength(size);
    return this.#settle(upload, completes, version.appendStatus);
  }

  /** "Offset Retrieval" */
  async #retrieveOffset(): Promise<Reply> {
    this.#refuseStateHeaders();
    await this.#hold.lock(this.#request.raw.socket);
    const { upload } = await this.#open({ for: 'read' });
    const headers = stateHeaders(this.#request.version, this.known);
    // "MUST include the length in the Upload-Length header field, unless the client has not supplied one".
    if (upload.size !== undefined) headers['upload-length'] = String(upload.size);
    headers['cache-control'] = 'no-store';
    return { status: 204, headers, body: '' };
  }

  /** "Upload Cancellation" */
  async #cancel(): Promise<Reply> {
    this.#refuseStateHeaders();
    await this.#hold.lock(this.#request.raw.socket);
    await this.#open({ for: 'read' });
    await this.#hold.terminate();
    return { status: 204, headers: {}, body: '' };
  }

  /** The upload, and its record where it is full. */
  async #open(intent: OpenIntent): Promise<{ upload: StoredUpload; record: UploadRecord | undefined }> {
    const upload = await this.#hold.open(intent, { finishes: this.#request.version.isCompleteWhenFull });
    const record = upload.isFull ? await this.#hold.record() : undefined;
    this.known.isComplete = record !== undefined && record.state !== 'receiving';
    this.#learn(upload);
    return { upload, record };
  }

  /** What a creation made, and told nobody of, is taken back when nothing of its content could be kept. */
  async #receiveFirst(upload: StoredUpload, content: RufhContent): Promise<void> {
    try {
      await this.#receive(upload, content);
    } catch (error) {
      const isUseless = error instanceof HttpError && error.code === 'digest_mismatch';
      const isFull = isStoreError(error, 'storage_full') && !this.#request.takesInterim;
      if (isUseless || isFull) {
        this.known.offset = undefined;
        await this.#hold.discard().catch(() => {});
      }
      throw error;
    }
  }

  async #receive(upload: StoredUpload, { size, checksum }: RufhContent): Promise<void> {
    const { raw } = this.#request;
    if (!hasBody(raw.headers)) return;
    const mostBytes = size ?? upload.size ?? this.#services.policy.maxSizeBytes ?? Number.MAX_SAFE_INTEGER;
    // While bytes are on their way into the store, and after it failed, nobody knows the offset.
    this.known.offset = undefined;
    const end = await this.#hold.receive(raw, {
      limit: mostBytes - upload.offset,
      expectedBytes: readContentLength(raw.headers),
      checksum,
      finishes: false,
    });
    this.#learn(upload);
    if (end === 'limit') throw await this.#overrun(upload);
    if (end === 'checksum_mismatch') {
      throw new HttpError('digest_mismatch', { message: 'The content is not what its Content-Digest says.' });
    }
    if (end !== 'end') throw this.#hold.unfinishedBody(end);
  }

  /**
   * "If the length is known, the server MUST prevent the offset from exceeding the upload length by rejecting the
   * request once the offset exceeds the length, marking the upload resource invalid and rejecting any further
   * interaction with it." What a creation made is taken back in any case, as in tus: its client was told to give up.
   */
  async #overrun(upload: StoredUpload): Promise<HttpError> {
    const isLengthKnown = upload.size !== undefined;
    const isCreation = this.known.location !== undefined;
    if (isCreation || (isLengthKnown && this.#request.version.overrunInvalidates)) {
      await this.#hold.remove('More bytes came than the upload may have.');
      this.known.offset = undefined;
    }
    return new HttpError(isLengthKnown ? 'inconsistent_length' : 'size_limit');
  }

  /** The body came to its end: completes the upload if that was its end too, and says how far it is. */
  async #settle(upload: StoredUpload, completes: boolean, status: number): Promise<Reply> {
    const { version, raw } = this.#request;
    const isLast = completes || (version.isCompleteWhenFull && upload.isFull);
    if (!isLast) return { status, headers: stateHeaders(version, this.known), body: '' };

    // "The server might not know the length until the upload is complete."
    if (upload.size === undefined) await this.#hold.declareLength(upload.offset);
    const record = await this.#hold.finish();
    if (record === undefined) {
      throw new HttpError('inconsistent_length', {
        message: `The request completes the upload at ${upload.offset} of ${upload.size} bytes.`,
      });
    }
    return this.#completed(record, raw.headers['want-repr-digest']);
  }

  /**
   * An append to a complete upload: one without content asks for the final answer again, because it was lost or
   * because the upload was completed without it ("The server can choose to replay the final response").
   */
  #replay(record: UploadRecord, digest: Digest | undefined): Reply {
    const { headers } = this.#request.raw;
    if (hasBody(headers)) {
      this.known.isComplete = false;
      throw new HttpError('upload_completed');
    }
    agreeOnLength(headers, { offset: record.offset, size: record.size ?? record.offset, completes: true });
    const digestHex = record.sha256 ?? record.declaredSha256;
    if (digest !== undefined && digestHex === null) throw new HttpError('digest_too_late');
    if (digest !== undefined && digest.hex !== digestHex) throw new HttpError('digest_mismatch');
    return this.#completed(record, headers['want-repr-digest']);
  }

  /** The final answer: that of the creation, had it had everything. "the response MUST include […] a true value". */
  #completed(record: UploadRecord, wanted: string | string[] | undefined): Reply {
    const { version } = this.#request;
    this.known.isComplete = true;
    if (record.state === 'rejected') {
      const code = REJECTIONS[record.reasonCode ?? ''] ?? 'upload_rejected';
      throw new HttpError(code, record.reason === null ? {} : { message: record.reason });
    }
    this.known.location = this.#request.location(record.id);
    const headers = stateHeaders(version, this.known);
    if (record.sha256 !== null && wantsSha256(wanted)) headers['repr-digest'] = digestField(record.sha256);
    return { status: 201, headers, body: '' };
  }

  async #declareDigest(upload: StoredUpload, digest: Digest): Promise<void> {
    if (upload.declaredDigest === undefined) await this.#hold.declareDigest(digest);
    else if (upload.declaredDigest.hex !== digest.hex) {
      throw new HttpError('invalid_checksum', {
        message: 'Repr-Digest is not the digest that was declared for this upload before.',
      });
    }
  }

  #appendCompletes(): boolean {
    const { version, raw } = this.#request;
    const completes = readCompleteness(version, raw.headers);
    if (completes !== undefined) return completes;
    if (version.appendWithoutCompleteness === 'refused') throw missingCompleteness(version.completeness);
    return version.appendWithoutCompleteness === 'complete';
  }

  #refuseStateHeaders(): void {
    const { version, raw } = this.#request;
    if (!version.refusesStateInQueries) return;
    const name = STATE_HEADERS.find((header) => raw.headers[header] !== undefined);
    if (name === undefined) return;
    throw new HttpError('invalid_header', { message: `This request must not have the header ${name}.` });
  }

  #learn(upload: StoredUpload): void {
    const { expiresAtMs } = upload;
    const isExpiring = expiresAtMs !== undefined && !this.known.isComplete;
    this.known.offset = upload.offset;
    this.known.limit = uploadLimit(this.#request.version, {
      maxSizeBytes: this.#services.policy.maxSizeBytes,
      remainingMs: isExpiring ? expiresAtMs - Date.now() : undefined,
    });
  }
}

function missingCompleteness(header: string): HttpError {
  return new HttpError('invalid_header', { message: `${header} must be given, as ?1 or ?0.` });
}
