import { relative, sep } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isStoreError } from '../../stores/errors.ts';
import type { PresignOptions, PreviewStore } from '../../stores/previews/types.ts';
import type { OriginalReader } from '../../stores/types.ts';
import { HttpError } from '../errors.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { contentDisposition } from './disposition.ts';
import { addVary, cacheControl, type MediaCaching, redirectCacheControl } from './media-headers.ts';
import { safetyHeaders, servedAs } from './original-answer.ts';
import type { SelectedMedia } from './select-media.ts';
import { sendOriginal } from './send-original.ts';

export interface MediaSenderOptions {
  services: UploadServices;
  previews: PreviewStore;
  /** GET is answered with a redirect to the bucket. */
  isRedirected: boolean;
  /** How long URLs of the bucket live. */
  urlExpiryMs: number;
  /** nginx sends the files: its internal location, and the directory that it stands for. */
  accel: { location: string; directory: string } | undefined;
}

export interface MediaToSend extends SelectedMedia {
  uploadId: string;
  caching: MediaCaching;
}

/** Sends what was selected, by this process, by nginx or by the bucket. */
export type SendMedia = (request: FastifyRequest, reply: FastifyReply, media: MediaToSend) => Promise<void>;

export function createMediaSender(options: MediaSenderOptions): SendMedia {
  const { services, previews, isRedirected, urlExpiryMs, accel } = options;

  async function open({ uploadId, preview }: MediaToSend): Promise<OriginalReader> {
    if (preview === undefined) return services.store.openOriginal(uploadId);
    try {
      return await previews.open(uploadId, preview.name);
    } catch (error) {
      // Its record says that it is there: an operator should know.
      if (!isStoreError(error, 'upload_not_found')) throw error;
      services.log.error({ uploadId, preview: preview.name }, 'preview is missing');
      throw new HttpError('preview_not_found', { cause: error });
    }
  }

  async function presign(
    { uploadId, preview, ...media }: MediaToSend,
    expiresInSeconds: number,
  ): Promise<string | undefined> {
    const { contentType, disposition } = servedAs(media);
    const presignOptions: PresignOptions = {
      expiresInSeconds,
      contentType,
      contentDisposition: contentDisposition(media.filename, disposition),
      cacheControl: cacheControl(media.caching, Date.now()),
    };
    return preview === undefined
      ? services.store.presignOriginal?.(uploadId, presignOptions)
      : previews.presign?.(uploadId, preview.name, presignOptions);
  }

  /** The URL lives as long as the permission to read, at most as long as it is configured to. */
  async function redirect(reply: FastifyReply, media: MediaToSend): Promise<boolean> {
    const nowMs = Date.now();
    const { expiresAtMs } = media.caching;
    const leftMs = Math.min(urlExpiryMs, expiresAtMs === undefined ? urlExpiryMs : expiresAtMs - nowMs);
    const seconds = Math.max(1, Math.floor(leftMs / 1000));
    const url = await presign(media, seconds);
    if (url === undefined) return false;
    const maxSeconds = media.caching.isImmutable ? seconds : 60;
    await reply
      .code(302)
      .header('cache-control', redirectCacheControl(expiresAtMs === undefined, seconds, maxSeconds))
      .header('location', url)
      .send();
    return true;
  }

  return async (request, reply, media) => {
    const { raw: req } = request;
    const { raw: res } = reply;
    if (media.isNegotiated) addVary(res, 'Accept');
    // The signature of a URL is for one method, and a HEAD costs little here.
    if (isRedirected && req.method === 'GET' && (await redirect(reply, media))) return;
    const reader = await open(media);
    if (accel !== undefined && reader.path !== undefined) {
      await reader.close();
      const { contentType, disposition } = servedAs(media);
      await reply
        .headers(safetyHeaders(contentType, disposition))
        .header('x-accel-redirect', accelPath(accel, reader.path))
        .header('content-type', contentType)
        .header('content-disposition', contentDisposition(media.filename, disposition))
        .header('cache-control', cacheControl(media.caching, Date.now()))
        .send();
      return;
    }
    await sendOriginal(req, res, reader, {
      contentType: media.contentType,
      filename: media.filename,
      disposition: media.disposition,
      cacheControl: cacheControl(media.caching, Date.now()),
      stallTimeoutMs: services.idleTimeoutMs,
      log: services.log,
    });
    // Only now: as long as nothing was sent, an error is answered like any other.
    reply.hijack();
  };
}

function accelPath({ location, directory }: { location: string; directory: string }, path: string): string {
  return location + relative(directory, path).split(sep).map(encodeURIComponent).join('/');
}
