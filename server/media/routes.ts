import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { parseMediaInfo } from '../../stores/media-info.ts';
import { isPreviewName } from '../../stores/previews/names.ts';
import { isUploadId } from '../../stores/upload-id.ts';
import { HttpError } from '../errors.ts';
import type { Cors } from '../plugins/cors.ts';
import { assertServable, finishedOriginal, finishedRecord } from '../uploads/servable-record.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import type { MediaAccess } from './media-access.ts';
import { type MediaAddress, type MediaFields, parseMediaFields } from './media-address.ts';
import { setEmbeddingHeaders } from './media-headers.ts';
import type { MediaLinks } from './media-links.ts';
import { parseUrlsRequest } from './media-urls-request.ts';
import { isOriginalOnly, selectMedia } from './select-media.ts';
import type { SendMedia } from './send-media.ts';

export interface MediaRoutesOptions {
  services: UploadServices;
  access: MediaAccess;
  links: MediaLinks;
  send: SendMedia;
  /** Media need signed URLs: only an operator gets them. */
  isSigned: boolean;
  requireAdmin: (request: FastifyRequest) => void;
  cors: Cors;
}

const PENDING_RETRY_SECONDS = 1;

interface MediaParams {
  id: string;
  name?: string;
}

/**
 * `GET /media/:id`: a finished upload, as its preview or as it is; `GET /media/:id/:name`: one preview, for ever; and
 * `POST /media/urls`, which gives out such URLs.
 */
export function mountMedia(app: FastifyInstance, options: MediaRoutesOptions): void {
  const { services, access, links, send, isSigned, requireAdmin, cors } = options;

  async function answer(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const address = addressOf(request);
    const expiresAtMs = await access.check(request, address);
    const isOriginal = isOriginalOnly(address);
    // Which previews there are, only the catalog knows.
    const record = await (isOriginal ? finishedOriginal : finishedRecord)(services, address.id, request.raw);
    const isWorkedOn = record.state === 'received' || record.state === 'processing';
    // An original waits for its verification, and not for its previews.
    if (isWorkedOn && !(isOriginal && services.plan.isServable(record))) {
      await reply
        .code(202)
        .header('retry-after', PENDING_RETRY_SECONDS)
        .header('cache-control', 'no-store')
        .send({ id: record.id, state: record.state });
      return;
    }
    assertServable(services.plan, record);
    const media = parseMediaInfo(record.media);
    const selected = selectMedia(record, media, address, request.headers.accept);
    const caching = { isImmutable: address.name !== undefined, expiresAtMs };
    await send(request, reply, { ...selected, uploadId: record.id, caching });
  }

  const route = {
    method: ['GET', 'HEAD', 'OPTIONS'],
    onRequest: (request: FastifyRequest, reply: FastifyReply, done: () => void) => {
      cors.apply(request.raw, reply.raw);
      setEmbeddingHeaders(reply.raw, cors);
      done();
    },
    handler: async (request: FastifyRequest, reply: FastifyReply) => {
      if (request.method === 'OPTIONS') await reply.code(204).send();
      else await answer(request, reply);
      return reply;
    },
  };
  app.route({ ...route, url: '/media/:id' });
  app.route({ ...route, url: '/media/:id/:name' });

  app.post('/media/urls', async (request, reply) => {
    reply.header('cache-control', 'no-store');
    if (isSigned) requireAdmin(request);
    const addresses = parseUrlsRequest(request.body);
    const { expiresAt, urlOf } = await links.open(true);
    return { urls: addresses.map((address) => ({ ...address, url: urlOf(address), expiresAt })) };
  });
}

/** What cannot be an id or a name is nowhere. @throws HttpError upload_not_found, preview_not_found, invalid_request */
function addressOf(request: FastifyRequest): MediaAddress {
  const { id, name } = request.params as MediaParams;
  if (!isUploadId(id)) throw new HttpError('upload_not_found');
  if (name !== undefined && !isPreviewName(name)) throw new HttpError('preview_not_found');
  return { id, name, ...parseMediaFields(request.query as MediaFields) };
}
