import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isPartialUpload } from '../../stores/concat-kind.ts';
import { isUploadId, uploadIdOf } from '../../stores/upload-id.ts';
import { HttpError } from '../errors.ts';
import type { NewFinalUpload } from '../uploads/concatenation.ts';
import { agreeOnDigest, parseDigestField } from '../uploads/digest-fields.ts';
import { describeUpload, parseUploadMetadata } from '../uploads/metadata.ts';
import { planUpload } from '../uploads/plan-upload.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { Reply } from './reply.ts';
import type { SessionRequest, SessionServices } from './session.ts';
import {
  hasBody,
  headerText,
  mediaTypeOf,
  OFFSET_CONTENT_TYPE,
  readContentLength,
  readDeclaredLength,
  TUS_VERSION,
} from './tus-headers.ts';

const MAX_PARTIALS = 1_000;

/**
 * `POST` with `Upload-Concat: final;…`: answered once the final upload is there, and the same way again to a client
 * that missed the answer. @tus/server has no handler for it (it demands a length).
 *
 * @throws StoreError, HttpError
 */
export async function createFinalUpload(services: SessionServices, request: SessionRequest): Promise<Reply> {
  const wanted = await planFinal(services, request);
  const hold = new UploadHold(services, wanted.id, request.raw);
  try {
    await hold.lock(request.raw.socket);
    const upload = await hold.concatenate(wanted);
    hold.refuseMismatch();
    return {
      status: 201,
      headers: {
        'tus-resumable': TUS_VERSION,
        location: request.location(upload.id),
        'upload-offset': String(upload.offset),
        'upload-concat': wanted.concat,
      },
      body: '',
    };
  } finally {
    await hold.unlock();
  }
}

/** The request as the hooks want it; they are told a size where the catalog knows it. */
async function planFinal(services: SessionServices, request: SessionRequest): Promise<NewFinalUpload> {
  const wanted = readFinalRequest(request);
  if (services.hooks === undefined) return wanted;
  const records = await Promise.all(wanted.partialIds.map((id) => services.catalog.get(id)));
  const sizes = records.map((record) => record?.size ?? Number.NaN);
  const sum = sizes.reduce((total, bytes) => total + bytes, 0);
  const size = Number.isNaN(sum) ? undefined : sum;
  const { id, fields } = await planUpload(services, request.raw, { ...wanted, size }, wanted.id);
  return { ...wanted, id, rawMetadata: fields.rawMetadata };
}

function readFinalRequest(request: SessionRequest): NewFinalUpload {
  const { headers } = request.raw;
  if (bringsBytes(headers)) {
    throw new HttpError('final_upload', { message: 'A final upload is made of others: it takes no bytes.' });
  }
  if (headers['upload-defer-length'] !== undefined) throw new HttpError('invalid_length');
  const concat = headerText(headers, 'upload-concat') ?? '';
  const partialIds = readPartialIds(concat, request.uploadId);
  const header = headerText(headers, 'upload-metadata');
  const rawMetadata = header === '' ? undefined : header;
  const { declaredSha256Hex } = describeUpload(parseUploadMetadata(rawMetadata));
  return {
    id: finalUploadId(partialIds, rawMetadata),
    partialIds,
    concat,
    rawMetadata,
    declaredDigest: agreeOnDigest([
      parseDigestField('Repr-Digest', headers['repr-digest']),
      declaredSha256Hex === null ? undefined : { algorithm: 'sha-256', hex: declaredSha256Hex },
    ]),
    announcedSize: readDeclaredLength(headers),
  };
}

/** Some clients say `Transfer-Encoding: chunked` whenever they have nothing to send. */
function bringsBytes(headers: IncomingHttpHeaders): boolean {
  const isUpload = mediaTypeOf(headers) === OFFSET_CONTENT_TYPE && hasBody(headers);
  return isUpload || (readContentLength(headers) ?? 0) > 0;
}

/**
 * tus 1.0.0: "The value MUST be `final` followed by a semicolon and a space-separated list of the partial upload
 * URLs". Which host they name is not ours to judge: the same server has many names behind proxies.
 */
function readPartialIds(concat: string, uploadId: SessionRequest['uploadId']): string[] {
  const list = /^\s*final;\s*(\S.*)$/.exec(concat)?.[1];
  if (list === undefined) throw new HttpError('invalid_concat');
  const urls = list.trim().split(/\s+/);
  if (urls.length > MAX_PARTIALS) {
    throw new HttpError('invalid_concat', {
      message: `A final upload may be made of ${MAX_PARTIALS} partial uploads at most.`,
    });
  }
  return urls.map((url) => {
    const id = uploadId(url);
    if (id === undefined || !isUploadId(id)) {
      throw new HttpError('invalid_concat', {
        message: 'Upload-Concat names an address that is not one of an upload of this server.',
      });
    }
    return id;
  });
}

/**
 * The id follows from the request: a client that missed the answer and asks again gets the same upload, whatever was
 * lost in between. It is as secret as the ids of the partial uploads, which each have 191 random bits.
 */
function finalUploadId(partialIds: readonly string[], rawMetadata: string | undefined): string {
  const request = JSON.stringify(['final', partialIds, rawMetadata ?? null]);
  return uploadIdOf(createHash('sha256').update(request).digest());
}

/** Upload-Concat of an ordinary creation: absent, or `partial`. */
export function readPartialConcat(headers: IncomingHttpHeaders): string | undefined {
  const concat = headerText(headers, 'upload-concat');
  if (concat === undefined || isPartialUpload(concat)) return concat;
  throw new HttpError('invalid_concat');
}
