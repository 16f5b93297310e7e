import type { IncomingMessage, ServerResponse } from 'node:http';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { BodyChecksum, OpenIntent } from '../../stores/types.ts';
import { type ErrorCode, HttpError } from '../errors.ts';
import type { Reply } from '../tus/reply.ts';
import { hasBody, readContentLength } from '../tus/tus-headers.ts';
import { digestField, wantsSha256 } from '../uploads/digest-fields.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { type KnownState, stateHeaders } from './answer.ts';
import type { RufhDialect } from './detect.ts';
import { uploadLimit } from './limits.ts';

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

/** How an upload that was rejected at its finish is answered, by the reason in its record. */
const REJECTIONS: Readonly<Record<string, ErrorCode>> = {
  checksum_mismatch: 'digest_mismatch',
  type_not_allowed: 'type_not_allowed',
};

/** The content of one request. */
export interface RufhContent {
  /** Length of the upload, as this request and all before it tell it. */
  size: number | undefined;
  checksum: BodyChecksum | undefined;
}

/**
 * What all requests of the draft have in common: what is known of the upload while one of them is handled, how its
 * content is received and how it is answered. Quotes, here and in the files of the requests, are from revision -12,
 * except where another one is named.
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
  readonly services: UploadServices;
  readonly request: RufhRequest;
  /** The upload, under its lock. */
  hold: UploadHold;

  constructor(services: UploadServices, request: RufhRequest) {
    this.services = services;
    this.request = request;
    // A creation has no id yet: it puts a hold of its own in the place of this one.
    this.hold = new UploadHold(services, request.id ?? '', request.raw);
    this.known.limit = uploadLimit(request.version, {
      maxSizeBytes: services.policy.maxSizeBytes,
      remainingMs: undefined,
    });
  }

  /** The upload, and its record where it is full. */
  async open(intent: OpenIntent): Promise<{ upload: StoredUpload; record: UploadRecord | undefined }> {
    const upload = await this.hold.open(intent, { finishes: this.request.version.isCompleteWhenFull });
    const record = upload.isFull ? await this.hold.record() : undefined;
    this.known.isComplete = record !== undefined && record.state !== 'receiving';
    this.learn(upload);
    return { upload, record };
  }

  /**
   * Takes the content of the request, if it has any.
   *
   * @throws HttpError when it was cut, was more than there may be, or is not what its digest says; StoreError
   */
  async receive(upload: StoredUpload, { size, checksum }: RufhContent): Promise<void> {
    const { raw } = this.request;
    if (!hasBody(raw.headers)) return;
    const mostBytes = size ?? upload.size ?? this.services.policy.maxSizeBytes ?? Number.MAX_SAFE_INTEGER;
    // While bytes are on their way into the store, and after it failed, nobody knows the offset.
    this.known.offset = undefined;
    const end = await this.hold.receive(raw, {
      limit: mostBytes - upload.offset,
      expectedBytes: readContentLength(raw.headers),
      checksum,
      finishes: false,
    });
    this.learn(upload);
    if (end === 'limit') throw await this.#overrun(upload);
    if (end === 'checksum_mismatch') {
      throw new HttpError('digest_mismatch', { message: 'The content is not what its Content-Digest says.' });
    }
    if (end !== 'end') throw this.hold.unfinishedBody(end);
  }

  /**
   * "If the length is known, the server MUST prevent the offset from exceeding the upload length by rejecting the
   * request once the offset exceeds the length, marking the upload resource invalid and rejecting any further
   * interaction with it." What a creation made is taken back in any case, as in tus: its client was told to give up.
   */
  async #overrun(upload: StoredUpload): Promise<HttpError> {
    const isLengthKnown = upload.size !== undefined;
    const isCreation = this.known.location !== undefined;
    if (isCreation || (isLengthKnown && this.request.version.overrunInvalidates)) {
      await this.hold.remove('More bytes came than the upload may have.');
      this.known.offset = undefined;
    }
    return new HttpError(isLengthKnown ? 'inconsistent_length' : 'size_limit');
  }

  /** The body came to its end: completes the upload if that was its end too, and says how far it is. */
  async settle(upload: StoredUpload, completes: boolean, status: number): Promise<Reply> {
    const { version } = this.request;
    const isLast = completes || (version.isCompleteWhenFull && upload.isFull);
    if (!isLast) return { status, headers: stateHeaders(version, this.known), body: '' };

    // "The server might not know the length until the upload is complete."
    if (upload.size === undefined) await this.hold.declareLength(upload.offset);
    const record = await this.hold.finish();
    if (record === undefined) {
      throw new HttpError('inconsistent_length', {
        message: `The request completes the upload at ${upload.offset} of ${upload.size} bytes.`,
      });
    }
    return this.completed(record);
  }

  /** The final answer: that of the creation, had it had everything. "the response MUST include […] a true value". */
  completed(record: UploadRecord): Reply {
    const { version, raw } = this.request;
    this.known.isComplete = true;
    if (record.state === 'rejected') {
      const code = REJECTIONS[record.reasonCode ?? ''] ?? 'upload_rejected';
      throw new HttpError(code, record.reason === null ? {} : { message: record.reason });
    }
    this.known.location = this.request.location(record.id);
    const headers = stateHeaders(version, this.known);
    const isWanted = wantsSha256(raw.headers['want-repr-digest']);
    if (record.sha256 !== null && isWanted) headers['repr-digest'] = digestField(record.sha256);
    return { status: 201, headers, body: '' };
  }

  /** What the answer will say, good or bad. */
  learn(upload: StoredUpload): void {
    const { expiresAtMs } = upload;
    const isExpiring = expiresAtMs !== undefined && !this.known.isComplete;
    this.known.offset = upload.offset;
    this.known.limit = uploadLimit(this.request.version, {
      maxSizeBytes: this.services.policy.maxSizeBytes,
      remainingMs: isExpiring ? expiresAtMs - Date.now() : undefined,
    });
  }
}
