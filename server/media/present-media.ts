import type { UploadRecord } from '../../stores/catalog/types.ts';
import { parseMediaInfo } from '../../stores/media-info.ts';
import type { OpenMediaLinks } from './media-links.ts';

/**
 * What is known of an upload's content, as the API shows it; null as long as that is nothing and the upload is not
 * served. Sizes in bytes, dimensions in pixels; `ratio` is the size of the preview by that of the original.
 */
export function presentMedia(record: UploadRecord, { urlOf, expiresAt }: OpenMediaLinks) {
  const { id } = record;
  const media = parseMediaInfo(record.media);
  if (media === undefined && record.state !== 'ready' && record.state !== 'failed') return null;
  const preview = media?.previews.find(({ variant }) => variant === 'preview');
  return {
    type: media?.type ?? null,
    width: media?.width ?? null,
    height: media?.height ?? null,
    frames: media?.frames ?? null,
    pages: media?.pages ?? null,
    durationMs: media?.durationMs ?? null,
    placeholder: media?.placeholder ?? null,
    missing: media?.missing ?? null,
    processing: media?.processing ?? null,
    previews: (media?.previews ?? []).map(({ name, ...facts }) => ({ ...facts, url: urlOf({ id, name }) })),
    originalUrl: urlOf({ id, variant: 'original' }),
    urlsExpireAt: expiresAt,
    ratio: preview === undefined || !record.size ? null : preview.size / record.size,
  };
}
