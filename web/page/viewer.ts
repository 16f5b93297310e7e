import './viewer.css';
import type { ShownUpload } from '../../client/shown-upload.ts';
import { formatBytes } from '../format.ts';
import type { Api } from './api.ts';
import { h, ICONS, icon, setAttribute, setText } from './dom.ts';
import { kindOf, pagesOf, previewOf } from './media.ts';
import { placeholderImage } from './placeholder.ts';

export interface Viewer {
  /** Shows one of these; arrow keys go to the others. Focus returns to where it was when it is closed. */
  open(uploads: readonly ShownUpload[], index: number): void;
}

/** A lightbox: the preview of an image, the pages of a PDF, a video that plays; and the original, to be downloaded. */
export function createViewer(api: Api): Viewer {
  const title = h('h2', { id: 'viewer-title' });
  const place = h('p', { class: 'place', 'aria-live': 'polite' });
  const stage = h('div', { class: 'stage' });
  const size = h('span', {});
  const download = h('a', { class: 'action', download: true }, icon(ICONS.download), size);
  const previous = iconButton('Previous', ICONS.previous, () => go(-1));
  const next = iconButton('Next', ICONS.next, () => go(1));
  const close = iconButton('Close', ICONS.close, () => dialog.close());
  const dialog = h(
    'dialog',
    { class: 'viewer', 'aria-labelledby': 'viewer-title' },
    h('header', {}, title, place, download, close),
    h('div', { class: 'frame' }, previous, stage, next),
  );
  document.body.append(dialog);
  let shown: readonly ShownUpload[] = [];
  let index = 0;

  const go = (step: number) => {
    const wanted = index + step;
    if (wanted < 0 || wanted >= shown.length) return;
    index = wanted;
    show();
  };
  const show = () => {
    const upload = shown[index];
    if (upload === undefined) return;
    const name = upload.filename ?? 'Unnamed file';
    setText(title, name);
    setText(place, shown.length > 1 ? `${index + 1} of ${shown.length}` : '');
    setText(size, upload.size === null ? 'Original' : `Original, ${formatBytes(upload.size)}`);
    setAttribute(download, 'href', api.at(upload.media?.originalUrl ?? upload.url));
    setAttribute(previous, 'disabled', index === 0);
    setAttribute(next, 'disabled', index === shown.length - 1);
    setAttribute(previous, 'hidden', shown.length === 1);
    setAttribute(next, 'hidden', shown.length === 1);
    stage.replaceChildren(...contentOf(upload, name));
    stage.scrollTop = 0;
  };

  const contentOf = (upload: ShownUpload, name: string): HTMLElement[] => {
    const { media } = upload;
    if (kindOf(upload) === 'video') return [videoOf(upload, name)];
    const pages = pagesOf(media);
    if (pages.length > 0) {
      return pages.map(({ url, page, width, height }) =>
        h('img', {
          class: 'page',
          src: api.at(url),
          alt: `${name}, page ${page ?? 1}`,
          width,
          height,
          loading: 'lazy',
        }),
      );
    }
    const preview = previewOf(media);
    if (preview === undefined) return [h('p', { class: 'nothing' }, 'There is no preview of this file.')];
    const image = h('img', {
      src: api.at(preview.url),
      alt: name,
      width: preview.width,
      height: preview.height,
    });
    image.style.backgroundImage = placeholderImage(media?.placeholder);
    image.addEventListener('load', () => image.style.removeProperty('background-image'), { once: true });
    return [image];
  };

  const videoOf = (upload: ShownUpload, name: string): HTMLVideoElement => {
    const { media } = upload;
    const playable = media?.previews.find(({ contentType }) => contentType.startsWith('video/'));
    const poster = media?.previews.find(({ variant }) => variant === 'poster');
    return h('video', {
      controls: true,
      playsinline: true,
      preload: 'metadata',
      'aria-label': name,
      src: api.at(playable?.url ?? media?.originalUrl ?? upload.url),
      poster: poster === undefined ? undefined : api.at(poster.url),
    });
  };

  dialog.addEventListener('keydown', ({ key, target }) => {
    // A video's own keys stay its own.
    if (target instanceof HTMLVideoElement) return;
    if (key === 'ArrowLeft') go(-1);
    if (key === 'ArrowRight') go(1);
  });
  dialog.addEventListener('click', ({ target }) => {
    if (target === dialog || target === stage) dialog.close();
  });
  // Ends what plays.
  dialog.addEventListener('close', () => stage.replaceChildren());

  return {
    open(uploads, at) {
      shown = uploads;
      index = at;
      show();
      dialog.showModal();
      close.focus();
    },
  };
}

function iconButton(label: string, path: string, onclick: () => void): HTMLButtonElement {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, onclick }, icon(path));
}
