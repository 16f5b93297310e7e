import type { ShownMedia, ShownPreview, ShownUpload } from '../../client/shown-upload.ts';
import { ICONS } from './dom.ts';

export type MediaKind = 'image' | 'video' | 'document' | 'file';

export function kindOf({ media, contentType }: ShownUpload): MediaKind {
  const type = media?.type ?? contentType ?? '';
  if (type.startsWith('image/')) return 'image';
  if (type.startsWith('video/')) return 'video';
  return type === 'application/pdf' ? 'document' : 'file';
}

export const KIND_ICONS: Record<MediaKind, string> = {
  image: ICONS.image,
  video: ICONS.video,
  document: ICONS.document,
  file: ICONS.file,
};

/** The small picture of it: WebP before anything else that there may be of the same. */
export function thumbnailOf(media: ShownMedia | null | undefined): ShownPreview | undefined {
  return first(media, 'thumb') ?? first(media, 'poster') ?? first(media, 'page') ?? first(media, 'preview');
}

/** What is shown in place of the original. */
export function previewOf(media: ShownMedia | null | undefined): ShownPreview | undefined {
  return first(media, 'preview') ?? first(media, 'poster');
}

/** Whether there is anything to look at: a picture, pages, or a video that plays by itself. */
export function isViewable(upload: ShownUpload): boolean {
  const { media } = upload;
  return previewOf(media) !== undefined || pagesOf(media).length > 0 || kindOf(upload) === 'video';
}

export function pagesOf(media: ShownMedia | null | undefined): ShownPreview[] {
  const pages = media?.previews.filter(({ variant }) => variant === 'page') ?? [];
  return pages.sort((a, b) => (a.page ?? 0) - (b.page ?? 0));
}

function first(
  media: ShownMedia | null | undefined,
  variant: ShownPreview['variant'],
): ShownPreview | undefined {
  const found = media?.previews.filter((preview) => preview.variant === variant) ?? [];
  return found.find(({ contentType }) => !contentType.includes('avif')) ?? found[0];
}
