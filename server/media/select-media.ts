import { extname } from 'node:path';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { MediaInfo, StoredPreview } from '../../stores/media-info.ts';
import { HttpError } from '../errors.ts';
import { negotiateType } from './accept.ts';
import { mayShowInline } from './content-type.ts';
import type { DispositionType } from './disposition.ts';
import type { MediaAddress } from './media-address.ts';

/** What a request for media is answered with. */
export interface SelectedMedia {
  /** Undefined: the original. */
  preview: StoredPreview | undefined;
  contentType: string | null;
  filename: string | null;
  disposition: DispositionType;
  /** Another `Accept` may get another form of it. */
  isNegotiated: boolean;
}

/** Previews that stand for the whole upload, best first. A poster does not: the video itself can be played. */
const DEFAULT_VARIANTS = ['preview', 'page'] as const;

/**
 * Chooses by the address what of an upload is served: by default its preview, else its original; for a download the
 * original, unless a variant is named.
 *
 * @throws HttpError preview_not_found, with why there is none where that is known
 */
export function selectMedia(
  record: UploadRecord,
  media: MediaInfo | undefined,
  address: MediaAddress,
  accept: string | undefined,
): SelectedMedia {
  const previews = media?.previews ?? [];
  const isDownload = address.mode === 'download';
  if (isOriginalOnly(address)) return selectOriginal(record, media, isDownload);
  if (address.name !== undefined) {
    const named = previews.find((preview) => preview.name === address.name);
    if (named === undefined) throw missing(media);
    return selectPreview(record, named, isDownload, false);
  }
  const variant = address.variant ?? (address.page === undefined ? undefined : 'page');
  const wanted = variant === undefined ? DEFAULT_VARIANTS : [variant];
  for (const each of wanted) {
    const forms = previews.filter(
      (preview) =>
        preview.variant === each && (each !== 'page' || (preview.page ?? 1) === (address.page ?? 1)),
    );
    const type =
      forms.length > 0 &&
      negotiateType(
        forms.map((form) => form.contentType),
        accept,
      );
    const form = forms.find((candidate) => candidate.contentType === type);
    if (form !== undefined) {
      return selectPreview(record, form, isDownload, form.contentType.startsWith('image/'));
    }
  }
  if (variant === undefined) return selectOriginal(record, media, isDownload);
  throw missing(media);
}

/** Whatever previews there are, this asks for the original. */
export function isOriginalOnly({ name, variant, mode, page }: MediaAddress): boolean {
  if (name !== undefined) return false;
  return variant === 'original' || (variant === undefined && page === undefined && mode === 'download');
}

function selectOriginal(
  record: UploadRecord,
  media: MediaInfo | undefined,
  isDownload: boolean,
): SelectedMedia {
  // What the bytes are counts more than what they were called.
  const contentType = media?.type ?? record.contentType;
  const isInline = !isDownload && mayShowInline(contentType);
  return {
    preview: undefined,
    contentType,
    filename: record.filename,
    disposition: isInline ? 'inline' : 'attachment',
    isNegotiated: false,
  };
}

function selectPreview(
  record: UploadRecord,
  preview: StoredPreview,
  isDownload: boolean,
  isNegotiated: boolean,
): SelectedMedia {
  return {
    preview,
    contentType: preview.contentType,
    filename: previewFilename(record.filename, preview),
    disposition: isDownload || !mayShowInline(preview.contentType) ? 'attachment' : 'inline',
    isNegotiated,
  };
}

/** `holiday.jpg` and its thumbnail: `holiday-thumb.webp`. */
function previewFilename(original: string | null, { variant, page, name }: StoredPreview): string {
  const base = original === null ? 'upload' : original.slice(0, original.length - extname(original).length);
  const suffix = variant === 'page' ? `page-${page ?? 1}` : variant;
  return `${base}-${suffix}${extname(name)}`;
}

function missing(media: MediaInfo | undefined): HttpError {
  if (media === undefined) {
    return new HttpError('preview_not_found', {
      message: 'There are no previews of this upload.',
      reason: 'none_made',
    });
  }
  if (media.missing === null) return new HttpError('preview_not_found');
  const { code, message } = media.missing;
  return new HttpError('preview_not_found', {
    message: `There is no such preview of this upload. ${message}`,
    reason: code,
  });
}
