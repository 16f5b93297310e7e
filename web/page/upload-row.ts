import type { ShownUpload } from '../../client/shown-upload.ts';
import { formatBytes, formatDuration, formatSpeed, formatTime } from '../format.ts';
import type { UploadStatus } from '../uploader.ts';
import type { Api } from './api.ts';
import { h, ICONS, icon, setAttribute, setText } from './dom.ts';
import { isViewable, KIND_ICONS, kindOf, thumbnailOf } from './media.ts';
import { placeholderImage } from './placeholder.ts';
import type { ListedUpload } from './upload-store.ts';

const STATE_LABELS: Record<string, string> = {
  receiving: 'Uploading',
  received: 'Received',
  processing: 'Processing',
  ready: 'Ready',
  rejected: 'Rejected',
  failed: 'Failed',
  aborted: 'Deleted',
  expired: 'Expired',
};

/** What this page knows better about an upload of its own. */
const LOCAL_LABELS: Partial<Record<UploadStatus, string>> = {
  queued: 'Waiting',
  offline: 'No network',
  paused: 'Paused',
  failed: 'Interrupted',
};

export interface UploadRow {
  element: HTMLLIElement;
  update(upload: ListedUpload): void;
}

/** One upload of the list. Its parts stay the same elements, so that focus and hover survive every event. */
export function createUploadRow(api: Api, onView: (id: string) => void): UploadRow {
  let id = '';
  const picture = h('div', { class: 'thumb' });
  const name = h('h3', { class: 'name' });
  const state = h('span', { class: 'state' });
  const facts = h('p', { class: 'facts' });
  const reason = h('p', { class: 'reason', hidden: true });
  const bar = h('progress', { max: 100, hidden: true });
  const checksum = h('p', { class: 'checksum', hidden: true });
  const view = h(
    'button',
    { type: 'button', class: 'action', hidden: true, onclick: () => onView(id) },
    icon(ICONS.view),
    h('span', {}, 'Preview'),
  );
  const downloadSize = h('span', {}, 'Original');
  const download = h(
    'a',
    { class: 'action', download: true, hidden: true },
    icon(ICONS.download),
    downloadSize,
  );
  const element = h(
    'li',
    { class: 'upload' },
    picture,
    h('div', { class: 'about' }, h('div', { class: 'title' }, name, state), facts, bar, checksum, reason),
    h('div', { class: 'actions' }, view, download),
  );
  let shownThumbnail: string | undefined;

  const showPicture = (shown: ShownUpload) => {
    // Before that they are known already, and not served.
    const thumbnail = isServed(shown) ? thumbnailOf(shown.media) : undefined;
    const key = thumbnail?.url ?? kindOf(shown);
    if (key === shownThumbnail) return;
    shownThumbnail = key;
    if (thumbnail === undefined) {
      picture.replaceChildren(icon(KIND_ICONS[kindOf(shown)]));
      return;
    }
    picture.style.backgroundImage = placeholderImage(shown.media?.placeholder);
    picture.replaceChildren(
      h('img', { src: api.at(thumbnail.url), alt: '', loading: 'lazy', decoding: 'async' }),
    );
  };

  return {
    element,
    update(upload) {
      const { shown } = upload;
      id = shown.id;
      const title = shown.filename ?? 'Unnamed file';
      setText(name, title);
      setAttribute(name, 'title', title);
      const localLabel = shown.state === 'receiving' && upload.local && LOCAL_LABELS[upload.local.status];
      setText(state, localLabel || (STATE_LABELS[shown.state] ?? shown.state));
      setAttribute(state, 'data-state', localLabel ? 'waiting' : shown.state);
      setText(facts, factsOf(upload).join(' · '));
      showProgress(bar, upload, title);
      showPicture(shown);
      showChecksum(checksum, shown);
      const why = shown.reason?.message ?? shown.media?.missing?.message;
      setAttribute(reason, 'hidden', !why);
      setText(reason, why ?? '');
      setAttribute(view, 'hidden', !isServed(shown) || !isViewable(shown));
      setAttribute(view, 'aria-label', `Preview of ${title}`);
      setAttribute(download, 'hidden', !isServed(shown));
      setAttribute(download, 'href', api.at(shown.media?.originalUrl ?? shown.url));
      setText(downloadSize, shown.size === null ? 'Original' : `Original, ${formatBytes(shown.size)}`);
      setAttribute(
        download,
        'aria-label',
        `Download the original of ${title}${shown.size === null ? '' : `, ${formatBytes(shown.size)}`}`,
      );
    },
  };
}

/** Previews may have failed: the original is there all the same. */
function isServed({ state }: ShownUpload): boolean {
  return state === 'ready' || state === 'failed';
}

/** How much of it arrived, as far as anybody knows. */
export function arrivedBytes({ shown, local }: ListedUpload): number {
  return Math.max(shown.offset, local?.sentBytes ?? 0);
}

/** Bytes per second, now. */
export function currentSpeed({ local, serverSpeed }: ListedUpload): number {
  return local?.bytesPerSecond ?? serverSpeed;
}

function factsOf(upload: ListedUpload): string[] {
  const { shown } = upload;
  const facts: string[] = [];
  if (shown.state === 'receiving') {
    const arrived = arrivedBytes(upload);
    facts.push(
      shown.size === null ? formatBytes(arrived) : `${formatBytes(arrived)} of ${formatBytes(shown.size)}`,
    );
    const speed = currentSpeed(upload);
    if (speed > 0) {
      facts.push(formatSpeed(speed));
      if (shown.size !== null) facts.push(`${formatDuration((shown.size - arrived) / speed)} left`);
    }
    return facts;
  }
  if (shown.size !== null) facts.push(formatBytes(shown.size));
  const { media } = shown;
  if (media?.width && media.height) facts.push(`${media.width} × ${media.height}`);
  if (media?.pages) facts.push(media.pages === 1 ? '1 page' : `${media.pages} pages`);
  if (shown.transfer.bytesPerSecond !== null) facts.push(formatSpeed(shown.transfer.bytesPerSecond));
  facts.push(formatTime(shown.createdAt));
  return facts;
}

function showProgress(bar: HTMLProgressElement, upload: ListedUpload, title: string): void {
  const { shown } = upload;
  const isMoving = shown.state === 'receiving' && shown.size !== 0;
  setAttribute(bar, 'hidden', !isMoving);
  if (!isMoving) return;
  setAttribute(bar, 'aria-label', `Progress of ${title}`);
  if (shown.size === null) bar.removeAttribute('value');
  else bar.value = (arrivedBytes(upload) / shown.size) * 100;
}

function showChecksum(element: HTMLParagraphElement, { sha256, declaredSha256 }: ShownUpload): void {
  const known = sha256 ?? declaredSha256;
  setAttribute(element, 'hidden', known === null);
  if (known === null || element.dataset.digest === `${sha256}${declaredSha256}`) return;
  element.dataset.digest = `${sha256}${declaredSha256}`;
  const isVerified = sha256 !== null && sha256 === declaredSha256;
  element.replaceChildren(
    ...(isVerified ? [icon(ICONS.check)] : []),
    isVerified ? 'SHA-256 verified ' : sha256 === null ? 'SHA-256 declared ' : 'SHA-256 ',
    h('code', { title: known }, `${known.slice(0, 10)}…${known.slice(-6)}`),
  );
}
