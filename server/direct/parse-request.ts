import type { DirectKind } from '../../stores/direct-types.ts';
import { HttpError } from '../errors.ts';
import { metadataHeader } from '../plain/plain-metadata.ts';
import type { NewUpload } from '../uploads/create-upload.ts';
import { describeUpload, parseUploadMetadata } from '../uploads/metadata.ts';
import type { NamedPart } from './part-rules.ts';

/** What a client says of a file before it sends it. */
export interface DirectRequest {
  kind: DirectKind;
  fields: Omit<NewUpload, 'client'>;
  /** Bytes of every part but the last, where it was told. */
  partSize: number | undefined;
  /** How a single object is to be sent. */
  method: 'POST' | 'PUT';
}

type Fields = Readonly<Record<string, unknown>>;

const METADATA_FIELD = /^metadata\[([^\]]*)\]$/;
const MAX_BATCH = 1000;

/**
 * Uppy's question for a file: `filename`, `type` and `metadata`, the latter as an object (JSON) or as `metadata[key]`
 * (query). Of our own clients also `size`, `partSize` (bytes) and `method`. Throws HttpError invalid_request,
 * invalid_metadata, invalid_checksum, form_too_large.
 */
export function parseDirectRequest(kind: DirectKind, given: unknown): DirectRequest {
  const fields = fieldsOf(given);
  const rawMetadata = metadataHeader(metadataOf(fields));
  const declared = describeUpload(parseUploadMetadata(rawMetadata)).declaredSha256Hex;
  return {
    kind,
    fields: {
      size: readCount(fields, 'size'),
      rawMetadata,
      declaredDigest: declared === null ? undefined : { algorithm: 'sha-256', hex: declared },
    },
    partSize: readCount(fields, 'partSize'),
    method: readMethod(fields),
  };
}

/** How a client wants to send a single object, where it says so. Throws HttpError invalid_request. */
export function parseMethod(query: unknown): DirectRequest['method'] {
  return readMethod(fieldsOf(query));
}

/** `{parts: [{PartNumber, ETag}, …]}`. Throws HttpError invalid_request. */
export function parseNamedParts(body: unknown): NamedPart[] {
  const { parts } = fieldsOf(body);
  if (!Array.isArray(parts)) throw invalid('parts must be an array of {PartNumber, ETag} objects.');
  return parts.map((part: unknown) => {
    const { PartNumber, ETag } = fieldsOf(part);
    const partNumber = typeof PartNumber === 'string' ? Number(PartNumber) : PartNumber;
    if (typeof partNumber !== 'number' || !Number.isSafeInteger(partNumber) || typeof ETag !== 'string') {
      throw invalid('parts must be an array of {PartNumber, ETag} objects.');
    }
    return { partNumber, etag: ETag };
  });
}

/** Whole numbers with commas between them, 1000 at most. Whether there are such parts, others decide. */
export function parsePartNumbers(text: unknown): number[] {
  const given = typeof text === 'string' ? text.split(',') : [];
  if (given.length === 0 || given.length > MAX_BATCH || !given.every((item) => /^\d{1,6}$/.test(item))) {
    throw invalid(`partNumbers must be 1 to ${MAX_BATCH} numbers with commas between them.`);
  }
  return given.map(Number);
}

/** The key that every call on an upload names. */
export function parseKey(query: unknown): string {
  const key = readText(fieldsOf(query), 'key');
  if (key === undefined) throw invalid('The key of the object must be given as the query parameter key.');
  return key;
}

/** Two names for each: Uppy's own, and those that tus clients use and the rest of the server reads. */
function metadataOf(fields: Fields): Map<string, string> {
  const metadata = new Map<string, string>();
  const nested = fields.metadata;
  const entries = Object.entries(nested === undefined || nested === null ? {} : fieldsOf(nested));
  for (const [name, value] of Object.entries(fields)) {
    const key = METADATA_FIELD.exec(name)?.[1];
    if (key !== undefined) entries.push([key, value]);
  }
  for (const [key, value] of entries) {
    if (value === undefined || value === null) continue;
    metadata.set(key, typeof value === 'object' ? JSON.stringify(value) : String(value));
  }
  const filename = readText(fields, 'filename');
  if (filename !== undefined && filename !== '' && !metadata.has('filename')) {
    metadata.set('filename', filename);
  }
  const type = readText(fields, 'type');
  if (type !== undefined && type !== '' && !metadata.has('filetype')) metadata.set('filetype', type);
  return metadata;
}

function readCount(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null || value === '') return undefined;
  const count = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value;
  if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0) return count;
  throw invalid(`${name} must be a number of bytes.`);
}

function readMethod(fields: Fields): DirectRequest['method'] {
  return readText(fields, 'method')?.toUpperCase() === 'PUT' ? 'PUT' : 'POST';
}

function readText(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  throw invalid(`${name} must be one text.`);
}

function fieldsOf(value: unknown): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  throw invalid('A JSON object is needed here.');
}

function invalid(message: string): HttpError {
  return new HttpError('invalid_request', { message });
}
