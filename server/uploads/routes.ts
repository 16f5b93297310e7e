import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  UPLOAD_STATES,
  type UploadCatalog,
  type UploadRecord,
  type UploadState,
} from '../../stores/catalog/types.ts';
import { isStoreError } from '../../stores/errors.ts';
import { isUploadId } from '../../stores/upload-id.ts';
import { HttpError } from '../errors.ts';
import type { MediaLinks } from '../media/media-links.ts';
import type { RequireAdmin } from '../plugins/admin.ts';
import type { Cors } from '../plugins/cors.ts';
import { declareDigest } from './declare-digest.ts';
import { type DirectReports, parseDirectReport } from './direct-reports.ts';
import { findRecord } from './find-record.ts';
import { presentUpload } from './present-upload.ts';
import type { UploadServices } from './upload-services.ts';

export interface UploadRoutesOptions {
  services: UploadServices;
  requireAdmin: RequireAdmin;
  basePath: string;
  links: MediaLinks;
  /** Whether a request may have URLs of media signed. */
  maySign: (request: FastifyRequest) => boolean;
  directReports: DirectReports;
  cors: Cors;
}

const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1000;
const MAX_REPORT_BYTES = 1024;

/** A name that is given twice is an array. */
type ListQuery = Partial<Record<'state' | 'group' | 'limit' | 'cursor', string | string[]>>;

/**
 * `GET /uploads` (the operator's, for no page of another origin); `GET` and `PATCH /uploads/:id` and what is below it
 * for whoever holds the id, which is as unguessable as the upload's URL, and from every origin that may upload.
 */
export function mountUploadRoutes(app: FastifyInstance, options: UploadRoutesOptions): void {
  const { services, requireAdmin, basePath, links, maySign, directReports, cors } = options;
  const { catalog } = services;

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

  /** Also an error has to be readable for the page that asked. What is no id is the operator's. */
  const onRequest = (request: FastifyRequest, reply: FastifyReply, done: () => void) => {
    const { id } = request.params as { id: string };
    if (isUploadId(id)) cors.apply(request.raw, reply.raw);
    reply.header('cache-control', 'no-store');
    done();
  };
  for (const url of ['/uploads/:id', '/uploads/:id/report']) {
    app.options(url, { onRequest }, async (_request, reply) => reply.code(204).send());
  }

  app.get<{ Params: { id: string } }>('/uploads/:id', { onRequest }, async (request) => {
    return present(request, await findRecord(services, request.params.id));
  });

  app.patch<{ Params: { id: string } }>('/uploads/:id', { onRequest }, async (request) =>
    present(request, await declareDigest(services, request.params.id, request)),
  );

  app.post<{ Params: { id: string } }>(
    '/uploads/:id/report',
    { onRequest, bodyLimit: MAX_REPORT_BYTES },
    async (request, reply) => {
      const report = parseDirectReport(request.body);
      if ((await catalog.get(request.params.id)) === undefined) throw new HttpError('upload_not_found');
      directReports.add(report);
      request.log.info({ uploadId: request.params.id, ...report }, 'direct upload reported');
      return reply.code(204).send();
    },
  );

  app.get('/uploads/summary', async (request, reply) => {
    requireAdmin(request);
    reply.header('cache-control', 'no-store');
    return { ...(await catalog.totals()), direct: directReports.totals() };
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
