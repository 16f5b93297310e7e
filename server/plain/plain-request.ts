import type { IncomingMessage } from 'node:http';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { HttpError } from '../errors.ts';
import { mediaTypeOf } from '../tus/tus-headers.ts';
import type { UploadHold } from '../uploads/upload-hold.ts';

/** A request of a client that speaks no protocol for uploads. */
export interface PlainRequest {
  method: 'PUT' | 'POST';
  /** Whose request this is (server/policy/client-key.ts). */
  client: string;
  raw: IncomingMessage;
  location(id: string): string;
}

/** What is told of an upload that was stored. */
export interface StoredFile {
  id: string;
  url: string;
  /** Bytes. */
  size: number;
  /** Lower-case hex, where it was computed. */
  sha256?: string;
}

/** A file of a form. */
export interface StoredFormFile extends StoredFile {
  /** Of the form. */
  field: string;
  filename: string | null;
}

/** `PUT` on the address where uploads are created, or a form that is posted there by a client that is not tus. */
export function isPlainUpload(method: string, id: string | undefined, raw: IncomingMessage): boolean {
  if (id !== '') return false;
  const isForm = method === 'POST' && mediaTypeOf(raw.headers) === 'multipart/form-data';
  return method === 'PUT' || (isForm && raw.headers['tus-resumable'] === undefined);
}

/** Finishes an upload of which all bytes are there. Throws HttpError type_not_allowed, digest_mismatch; StoreError. */
export async function concludeFile(hold: UploadHold, request: PlainRequest): Promise<StoredFile> {
  const upload = hold.upload as StoredUpload;
  if (upload.size === undefined) await hold.declareLength(upload.offset);
  const record = await hold.conclude();
  if (record?.state === 'rejected') throw new HttpError('digest_mismatch');
  const sha256 = record?.sha256 ?? undefined;
  return {
    id: hold.id,
    url: request.location(hold.id),
    size: upload.offset,
    ...(sha256 === undefined ? {} : { sha256 }),
  };
}
