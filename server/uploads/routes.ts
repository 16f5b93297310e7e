import type { FastifyInstance, FastifyRequest } from 'fastify';
import { isStoreError } from '../../stores/errors.ts';
import {
  UPLOAD_STATES,
  type UploadCatalog,
  type UploadRecord,
  type UploadState,
} from '../../stores/types.ts';
import { HttpError } from '../errors.ts';
import type { MediaLinks, OpenMediaLinks } from '../media/media-links.ts';
import { presentMedia } from '../media/present-media.ts';
import type { RequireAdmin } from '../plugins/admin.ts';
import { isPartialRecord } from './concat-records.ts';
import { declareDigest } from './declare-digest.ts';
import type { UploadServices } from './upload-hold.ts';

export interface UploadRoutesOptions {
  services: UploadServices;
  requireAdmin: RequireAdmin;
  basePath: string;
  links: MediaLinks;
  /** Whether a request may have URLs of media signed. */
  maySign: (request: FastifyRequest) => boolean;
}

const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1000;

/** A name that is given twice is an array. */
type ListQuery = Partial<Record<'state' | 'group' | 'limit' | 'cursor', string | string[]>>;

/**
 * `GET /uploads` (the operator's), and `GET` and `PATCH /uploads/:id` (for whoever holds the id: it is as unguessable
 * as the upload's URL). None of them answers other origins.
 */
export function mountUploadRoutes(app: FastifyInstance, options: UploadRoutesOptions): void {
  const { services, requireAdmin, basePath, links, maySign } = options;
  const { catalog, store, finisher } = services;

  const present = async (request: FastifyRequest, record: UploadRecord) =>
    presentUpload(record, basePath, await links.open(maySign(request)));

  app.get<{ Querystring: ListQuery }>('/uploads', async (request, reply) => {
    requireAdmin(request);
    reply.header('cache-control', 'no-store');
    const { query } = request;
    const page = await listPage(catalog, {
      filter: { state: parseState(onlyValue(query, 'state')), group: onlyValue(query, 'group') },
      page: { limit: parseLimit(onlyValue(query, 'limit')), cursor: onlyValue(query, 'cursor') },
    });
    const openLinks = await links.open(true);
    return {
      uploads: page.items.map((record) => presentUpload(record, basePath, openLinks)),
      nextCursor: page.nextCursor ?? null,
    };
  });

  app.get<{ Params: { id: string } }>('/uploads/:id', async (request, reply) => {
    reply.header('cache-control', 'no-store');
    const { id } = request.params;
    const record = (await catalog.get(id)) ?? (await finisher.ensureRecord(await store.getUpload(id)));
    return present(request, record);
  });

  app.patch<{ Params: { id: string } }>('/uploads/:id', async (request, reply) => {
    reply.header('cache-control', 'no-store');
    return present(request, await declareDigest(services, request.params.id, request));
  });

  app.get('/uploads/summary', async (request, reply) => {
    requireAdmin(request);
    reply.header('cache-control', 'no-store');
    return catalog.totals();
  });
}

async function listPage(
  catalog: UploadCatalog,
  query: { filter: object; page: { limit: number; cursor: string | undefined } },
) {
  try {
    return await catalog.list(query.filter, query.page);
  } catch (error) {
    if (error instanceof RangeError && !isStoreError(error))
      throw new HttpError('invalid_cursor', { cause: error });
    throw error;
  }
}

function onlyValue(query: ListQuery, name: keyof ListQuery): string | undefined {
  const value = query[name];
  if (Array.isArray(value)) throw new HttpError('invalid_request', { message: `${name} was given twice.` });
  return value;
}

function parseState(text: string | undefined): UploadState | undefined {
  if (text === undefined) return undefined;
  const state = UPLOAD_STATES.find((known) => known === text);
  if (state === undefined) {
    throw new HttpError('invalid_request', { message: `state must be one of ${UPLOAD_STATES.join(', ')}.` });
  }
  return state;
}

function parseLimit(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LIMIT;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MAX_LIMIT) {
    throw new HttpError('invalid_request', { message: `limit must be a number from 1 to ${MAX_LIMIT}.` });
  }
  return limit;
}

/** An upload as the API shows it: times as ISO 8601, sizes in bytes, speed in bytes per second. */
export function presentUpload(record: UploadRecord, basePath: string, links: OpenMediaLinks) {
  const seconds = record.receivingMs / 1000;
  return {
    id: record.id,
    url: `${basePath}/${record.id}`,
    state: record.state,
    partial: isPartialRecord(record),
    size: record.size,
    offset: record.offset,
    filename: record.filename,
    contentType: record.contentType,
    group: record.group,
    metadata: record.rawMetadata,
    sha256: record.sha256,
    declaredSha256: record.declaredSha256,
    reason:
      record.state === 'receiving' || record.reasonCode === null
        ? null
        : { code: record.reasonCode, message: record.reason },
    media: presentMedia(record, links),
    createdAt: isoTime(record.createdAtMs),
    updatedAt: isoTime(record.updatedAtMs),
    receivedAt: isoTime(record.receivedAtMs),
    expiresAt: isoTime(record.expiresAtMs),
    transfer: {
      receivedBytes: record.receivedBytes,
      requests: record.requests,
      resumes: record.resumes,
      firstByteMs: record.firstByteAtMs === null ? null : record.firstByteAtMs - record.createdAtMs,
      durationMs: record.receivedAtMs === null ? null : record.receivedAtMs - record.createdAtMs,
      bytesPerSecond: seconds > 0 ? Math.round(record.receivedBytes / seconds) : null,
    },
  };
}

function isoTime(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
