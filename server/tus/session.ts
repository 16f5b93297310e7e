import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Lock } from '@tus/utils';
import { isStoreError } from '../../stores/errors.ts';
import type { Digest, StoredUpload } from '../../stores/stored-upload.ts';
import type { BodyChecksum, BodyEnd } from '../../stores/types.ts';
import { HttpError } from '../errors.ts';
import type { UploadPolicy } from '../policy/upload-policy.ts';
import type { NewUpload } from '../uploads/create-upload.ts';
import { agreeOnDigest, parseDigestField } from '../uploads/digest-fields.ts';
import { describeUpload, parseUploadMetadata } from '../uploads/metadata.ts';
import { planUpload } from '../uploads/plan-upload.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { readPartialConcat } from './final-request.ts';
import type { StockContext, StockMethod, StockRequestPort, StockStore } from './stock-handlers.ts';
import {
  hasBody,
  headerText,
  mediaTypeOf,
  OFFSET_CONTENT_TYPE,
  readContentLength,
  readDeclaredLength,
  readUploadLength,
  readUploadOffset,
} from './tus-headers.ts';
import { readUploadChecksum } from './upload-checksum.ts';

export type SessionServices = UploadServices;

export interface SessionRequest {
  method: StockMethod;
  id: string;
  /** Whose request this is (server/policy/client-key.ts). */
  client: string;
  raw: IncomingMessage;
  location(id: string): string;
  /** The id in the address of an upload of this server, absolute or relative; undefined for any other address. */
  uploadId(url: string): string | undefined;
}

/**
 * One tus request: what @tus/server's handler sees as its store, its lock and its body. Everything that the handler
 * does between taking the lock and giving it back goes through here, so that a finish happens under the lock.
 */
export class TusSession implements StockRequestPort {
  readonly method: StockMethod;
  readonly id: string;
  readonly context: StockContext;
  readonly store: StockStore;
  /** Bytes; 0: no limit of ours. */
  readonly maxSize: number;
  readonly #hold: UploadHold;
  readonly #request: SessionRequest;
  readonly #headers: IncomingHttpHeaders;
  #wanted: NewUpload | undefined;
  readonly #policy: UploadPolicy;
  #checksum: BodyChecksum | undefined;
  /** Upload-Length of a body that has to be verified first: "the upload […] MUST NOT be updated" before that. */
  #lengthToDeclare: number | undefined;

  /** @param wanted the upload that a creation makes; read from the headers where absent */
  constructor(services: SessionServices, request: SessionRequest, wanted?: NewUpload) {
    this.#request = request;
    this.#wanted = wanted;
    this.#headers = request.raw.headers;
    this.method = request.method;
    this.id = request.id;
    this.#policy = services.policy;
    this.maxSize = services.policy.maxSizeBytes ?? 0;
    const hold = new UploadHold(services, request.id, request.raw);
    this.#hold = hold;
    this.context = { signal: hold.signal, abort: () => {}, cancel: () => hold.release() };
    const { extensions } = services.store;
    this.store = {
      extensions,
      // Expiry is ours: the stock check would turn finished uploads into 410s.
      hasExtension: (extension) => extension !== 'expiration' && extensions.includes(extension),
      getExpiration: () => 0,
      create: async () => {
        const upload = await hold.create(this.#newUpload(), this.#followingBytes(), { isUntold: true });
        hold.refuseMismatch();
        return upload;
      },
      getUpload: () => this.#open(),
      declareUploadLength: (_id, size) => this.#declareLength(size),
      remove: async () => {
        await this.#open();
        await hold.terminate();
      },
    };
  }

  get upload(): StoredUpload | undefined {
    return this.#hold.upload;
  }

  location(id: string): string {
    return this.#request.location(id);
  }

  /** Metadata is kept as it came and concatenation is ours: the stock handler sees neither. */
  header(name: string): string | undefined {
    if (name === 'upload-metadata' || name === 'upload-concat') return undefined;
    if (name === 'content-type') return mediaTypeOf(this.#headers);
    const value = headerText(this.#headers, name);
    // Saying the same length again (after a lost answer) changes nothing: only a different one is refused.
    if (name === 'upload-length' && this.method === 'PATCH' && value === this.upload?.size?.toString()) {
      return undefined;
    }
    return value;
  }

  /** Checks what can be told from the headers alone, before anything is locked, read or made. */
  validate(): void {
    const headers = this.#headers;
    if (this.method === 'PATCH') {
      // tus 1.0.0, PATCH: "If the Content-Type is invalid, the Server MUST return 415."
      if (mediaTypeOf(headers) !== OFFSET_CONTENT_TYPE) throw new HttpError('unsupported_media_type');
      readUploadOffset(headers);
      const size = readDeclaredLength(headers);
      if (size !== undefined) this.#policy.checkSize(size);
      this.#readDigest();
      this.#checksum = readUploadChecksum(this.#request.raw);
    }
    if (this.method === 'POST') {
      const { size } = this.#newUpload();
      if (size !== undefined) this.#policy.checkSize(size);
      const bodyBytes = this.#followingBytes();
      if (bodyBytes !== undefined && bodyBytes > (size ?? (this.maxSize || Number.MAX_SAFE_INTEGER))) {
        throw new HttpError('body_too_large');
      }
      if (mediaTypeOf(headers) === OFFSET_CONTENT_TYPE)
        this.#checksum = readUploadChecksum(this.#request.raw);
    }
  }

  /** The session of a creation as the hooks want it. Throws what `planUpload` throws. */
  async plan(services: SessionServices): Promise<TusSession> {
    const { id, fields } = await planUpload(services, this.#request.raw, this.#newUpload(), this.id);
    const session = new TusSession(services, { ...this.#request, id }, fields);
    session.validate();
    return session;
  }

  async acquireLock(): Promise<Lock> {
    await this.#hold.lock(this.#request.raw.socket);
    return { lock: async () => {}, unlock: () => this.#hold.unlock() };
  }

  async writeBody(maxBodySize: number): Promise<number> {
    const hold = this.#hold;
    if (hasBody(this.#headers)) {
      const end = await this.#receive(maxBodySize);
      // The 201 of a creation tells the client how far it came: only a body that is too long is refused there.
      if (end !== 'end' && (this.method === 'PATCH' || end === 'limit' || end === 'checksum_mismatch')) {
        if (this.method === 'POST') await hold.discard();
        throw this.#unfinishedBody(end);
      }
    } else {
      await hold.conclude();
    }
    hold.refuseMismatch();
    return (hold.upload as StoredUpload).offset;
  }

  async #receive(limit: number): Promise<BodyEnd> {
    const hold = this.#hold;
    const size = this.#lengthToDeclare;
    // The stock handler has set it, when we did not declare it.
    if (size !== undefined && hold.upload !== undefined) hold.upload.size = undefined;
    try {
      const end = await hold.receive(this.#request.raw, {
        limit,
        expectedBytes: readContentLength(this.#headers),
        checksum: this.#checksum,
      });
      if (size !== undefined && end === 'end') {
        await hold.declareLength(size);
        await hold.conclude();
      }
      return end;
    } catch (error) {
      // Nobody learns the address of this upload: on a full disk it would be in the way until it expires, as it
      // still is when this fails too.
      if (this.method === 'POST' && leavesNothing(error)) {
        await this.#hold.discard().catch(() => {});
      }
      throw error;
    }
  }

  /** What arrived of a body without a checksum is stored, and the error says so. */
  #unfinishedBody(end: Exclude<BodyEnd, 'end'>): HttpError {
    const error = this.#hold.unfinishedBody(end);
    if (this.#checksum === undefined || error.status === 413 || error.status === 460) return error;
    return new HttpError(error.code, {
      message:
        'A body with a checksum counts when all of it is verified. Ask for the offset and send it again.',
    });
  }

  async #open(): Promise<StoredUpload> {
    if (this.method !== 'PATCH') {
      return this.#hold.open({ for: 'read' }, { takesConcatenated: this.method === 'HEAD' });
    }
    const upload = await this.#hold.open({ for: 'write', requestOffset: readUploadOffset(this.#headers) });
    this.#checkDeclaredLength(upload);
    const digest = this.#readDigest();
    const isAtOffset = readUploadOffset(this.#headers) === upload.offset;
    if (digest !== undefined && isAtOffset) await this.#hold.declareDigest(digest);
    return upload;
  }

  async #declareLength(size: number): Promise<void> {
    if (this.#checksum !== undefined && hasBody(this.#headers)) this.#lengthToDeclare = size;
    else await this.#hold.declareLength(size);
  }

  /** RFC 9530: of all of the upload, whatever part of it this request has. */
  #readDigest(): Digest | undefined {
    return parseDigestField('Repr-Digest', this.#headers['repr-digest']);
  }

  /** tus 1.0.0, creation-defer-length: "Once set the length MUST NOT be changed." */
  #checkDeclaredLength(upload: StoredUpload): void {
    const size = readDeclaredLength(this.#headers);
    if (size === undefined || size === upload.size) return;
    if (readUploadOffset(this.#headers) !== upload.offset) throw new HttpError('offset_mismatch');
    if (upload.size !== undefined) throw new HttpError('length_already_set');
    if (size < upload.offset) throw new HttpError('length_below_offset');
    // A request that is refused sets nothing.
    if (upload.offset + (readContentLength(this.#headers) ?? 0) > size) throw new HttpError('body_too_large');
  }

  /** Read once: it is wanted to check the request, and again to create the upload. */
  #newUpload(): NewUpload {
    this.#wanted ??= this.#readNewUpload();
    return this.#wanted;
  }

  #readNewUpload(): NewUpload {
    const { size } = readUploadLength(this.#headers);
    const header = headerText(this.#headers, 'upload-metadata');
    const { declaredSha256Hex } = describeUpload(parseUploadMetadata(header));
    return {
      size,
      rawMetadata: header === '' ? undefined : header,
      declaredDigest: agreeOnDigest([
        this.#readDigest(),
        declaredSha256Hex === null ? undefined : { algorithm: 'sha-256', hex: declaredSha256Hex },
      ]),
      concat: readPartialConcat(this.#headers),
      client: this.#request.client,
    };
  }

  /** creation-with-upload: bytes that follow the headers of a POST, where it says how many. */
  #followingBytes(): number | undefined {
    return mediaTypeOf(this.#headers) === OFFSET_CONTENT_TYPE ? readContentLength(this.#headers) : undefined;
  }
}

/** Whether a creation that fails so has stored nothing of its body. */
function leavesNothing(error: unknown): boolean {
  if (error instanceof HttpError) return /^(invalid|unsupported)_checksum$/.test(error.code);
  return isStoreError(error, 'storage_full') || isStoreError(error, 'checksum_body_too_large');
}
