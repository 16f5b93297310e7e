import type { IncomingMessage } from 'node:http';

/** What a request is answered with. */
export interface S3Answer {
  status: number;
  headers?: Record<string, string | number>;
  text?: string | Buffer;
}

interface StoredObject {
  size: number;
  etag: string;
  modified: Date;
  /** `x-amz-meta-*` and the type, given back with GET and HEAD. */
  headers: Record<string, string>;
  /** Undefined: put together from parts, whose bytes nobody kept. */
  bytes: Buffer | undefined;
}

interface Multipart {
  key: string;
  initiated: Date;
  headers: Record<string, string>;
  parts: Map<number, { size: number; etag: string }>;
}

type Body = { length: number; bytes: Buffer | undefined };

const OK: S3Answer = { status: 200 };
const NO_CONTENT: S3Answer = { status: 204 };

const objects = new Map<string, StoredObject>();
const multiparts = new Map<string, Multipart>();
let created = 0;

/** S3's name of a call, for path-style requests (`/bucket/key`). */
export function nameOperation(req: IncomingMessage): string {
  const { key, query } = targetOf(req);
  const isMultipart = query.has('uploadId');
  switch (req.method) {
    case 'GET':
      if (key === '') return query.has('uploads') ? 'ListMultipartUploads' : 'ListObjectsV2';
      return isMultipart ? 'ListParts' : 'GetObject';
    case 'HEAD':
      return key === '' ? 'HeadBucket' : 'HeadObject';
    case 'PUT':
      return isMultipart ? 'UploadPart' : 'PutObject';
    case 'POST':
      if (query.has('uploads')) return 'CreateMultipartUpload';
      return query.has('delete') ? 'DeleteObjects' : 'CompleteMultipartUpload';
    case 'DELETE':
      return isMultipart ? 'AbortMultipartUpload' : 'DeleteObject';
    default:
      return 'unknown';
  }
}

/** Does what the operation says, as far as a tus server can tell the difference from S3. */
export function answerS3(operation: string, req: IncomingMessage, body: Body): S3Answer {
  const { key, query } = targetOf(req);
  const uploadId = query.get('uploadId') ?? '';
  switch (operation) {
    case 'HeadBucket':
      return OK;
    case 'PutObject':
      return putObject(req, key, contentOf(req, body));
    case 'GetObject':
    case 'HeadObject':
      return getObject(key, operation === 'HeadObject');
    case 'DeleteObject':
      objects.delete(key);
      return NO_CONTENT;
    case 'DeleteObjects':
      for (const [, name = ''] of String(contentOf(req, body)).matchAll(/<Key>([^<]*)<\/Key>/g)) {
        objects.delete(name);
      }
      return xml('DeleteResult', '');
    case 'ListObjectsV2':
      return listObjects(query.get('prefix') ?? '', query.get('delimiter') ?? '');
    case 'ListMultipartUploads':
      return listMultiparts(query.get('prefix') ?? '');
    case 'CreateMultipartUpload': {
      const id = `multipart-${created++}`;
      multiparts.set(id, { key, initiated: new Date(), headers: keptHeaders(req), parts: new Map() });
      return xml('InitiateMultipartUploadResult', `<Key>${key}</Key><UploadId>${id}</UploadId>`);
    }
  }
  const multipart = multiparts.get(uploadId);
  if (multipart === undefined) return failure(404, 'NoSuchUpload');
  switch (operation) {
    case 'UploadPart': {
      const etag = newEtag();
      const size = Number(req.headers['x-amz-decoded-content-length'] ?? body.length);
      multipart.parts.set(Number(query.get('partNumber')), { size, etag });
      return { status: 200, headers: { etag } };
    }
    case 'ListParts':
      return listParts(multipart);
    case 'CompleteMultipartUpload': {
      const sizes = [...multipart.parts.values()].map(({ size }) => size);
      const etag = newEtag();
      const size = sizes.reduce((sum, one) => sum + one, 0);
      objects.set(key, {
        size,
        etag,
        modified: new Date(),
        headers: multipart.headers,
        bytes: undefined,
      });
      multiparts.delete(uploadId);
      return xml('CompleteMultipartUploadResult', `<Key>${key}</Key><ETag>${quoted(etag)}</ETag>`);
    }
    case 'AbortMultipartUpload':
      multiparts.delete(uploadId);
      return NO_CONTENT;
    default:
      return failure(501, 'NotImplemented');
  }
}

function putObject(req: IncomingMessage, key: string, bytes: Buffer): S3Answer {
  const existing = objects.get(key);
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = req.headers;
  if (ifNoneMatch === '*' && existing !== undefined) return failure(412, 'PreconditionFailed');
  if (ifMatch !== undefined && existing === undefined) return failure(404, 'NoSuchKey');
  if (ifMatch !== undefined && ifMatch !== existing?.etag) return failure(412, 'PreconditionFailed');
  const etag = newEtag();
  objects.set(key, { size: bytes.length, etag, modified: new Date(), headers: keptHeaders(req), bytes });
  return { status: 200, headers: { etag } };
}

function getObject(key: string, isHead: boolean): S3Answer {
  const object = objects.get(key);
  if (object === undefined) return failure(404, 'NoSuchKey');
  if (!isHead && object.bytes === undefined) return failure(501, 'NotImplemented');
  const headers = {
    ...object.headers,
    etag: object.etag,
    'last-modified': object.modified.toUTCString(),
    'content-length': object.size,
  };
  return isHead ? { status: 200, headers } : { status: 200, headers, text: object.bytes ?? '' };
}

function listObjects(prefix: string, delimiter: string): S3Answer {
  const keys = [...objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  const folders = new Set<string>();
  let contents = '';
  for (const key of keys) {
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    const object = objects.get(key);
    if (end !== -1) folders.add(key.slice(0, end + delimiter.length));
    else if (object !== undefined) {
      contents +=
        `<Contents><Key>${key}</Key><LastModified>${object.modified.toISOString()}</LastModified>` +
        `<ETag>${quoted(object.etag)}</ETag><Size>${object.size}</Size></Contents>`;
    }
  }
  const prefixes = [...folders].map((name) => `<CommonPrefixes><Prefix>${name}</Prefix></CommonPrefixes>`);
  return xml('ListBucketResult', `<IsTruncated>false</IsTruncated>${contents}${prefixes.join('')}`);
}

function listMultiparts(prefix: string): S3Answer {
  const found = [...multiparts].filter(([, { key }]) => key.startsWith(prefix));
  const uploads = found.map(
    ([id, { key, initiated }]) =>
      `<Upload><Key>${key}</Key><UploadId>${id}</UploadId>` +
      `<Initiated>${initiated.toISOString()}</Initiated></Upload>`,
  );
  return xml('ListMultipartUploadsResult', `<IsTruncated>false</IsTruncated>${uploads.join('')}`);
}

function listParts({ parts }: Multipart): S3Answer {
  const sorted = [...parts].toSorted(([a], [b]) => a - b);
  const rows = sorted.map(
    ([partNumber, { size, etag }]) =>
      `<Part><PartNumber>${partNumber}</PartNumber><ETag>${quoted(etag)}</ETag><Size>${size}</Size></Part>`,
  );
  return xml('ListPartsResult', `<IsTruncated>false</IsTruncated>${rows.join('')}`);
}

/** Without the frames of `aws-chunked`: `<hex length>[;…]\r\n<bytes>\r\n`, ended by a frame of no bytes. */
function contentOf(req: IncomingMessage, { bytes }: Body): Buffer {
  const framed = bytes ?? Buffer.alloc(0);
  if (req.headers['x-amz-decoded-content-length'] === undefined) return framed;
  const pieces: Buffer[] = [];
  for (let at = 0; at < framed.length; ) {
    const lineEnd = framed.indexOf('\r\n', at);
    const length = Number.parseInt(framed.toString('latin1', at, lineEnd), 16);
    if (!(length > 0)) break;
    pieces.push(framed.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
  }
  return Buffer.concat(pieces);
}

function keptHeaders(req: IncomingMessage): Record<string, string> {
  const kept = Object.entries(req.headers).filter(
    ([name]) => name.startsWith('x-amz-meta-') || name === 'content-type',
  );
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
}

function targetOf(req: IncomingMessage): { key: string; query: URLSearchParams } {
  const url = new URL(req.url ?? '/', 'http://sink');
  return {
    key: decodeURIComponent(url.pathname.split('/').slice(2).join('/')),
    query: url.searchParams,
  };
}

function newEtag(): string {
  return `"${(created++).toString(16).padStart(32, '0')}"`;
}

function quoted(etag: string): string {
  return etag.replaceAll('"', '&quot;');
}

function xml(root: string, content: string): S3Answer {
  return {
    status: 200,
    headers: { 'content-type': 'application/xml' },
    text: `<?xml version="1.0" encoding="UTF-8"?><${root}>${content}</${root}>`,
  };
}

function failure(status: number, code: string): S3Answer {
  return { ...xml('Error', `<Code>${code}</Code><Message>${code}</Message>`), status };
}
