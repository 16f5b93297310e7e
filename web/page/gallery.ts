import './theme.css';
import './gallery.css';
import type { ShownUpload } from '../../client/shown-upload.ts';
import { formatBytes, formatClock } from '../format.ts';
import { HttpFailure } from '../uploader/errors.ts';
import { createApi } from './api.ts';
import { byId, h, ICONS, icon, setAttribute, setText } from './dom.ts';
import { isViewable, KIND_ICONS, kindOf, thumbnailOf } from './media.ts';
import { placeholderImage } from './placeholder.ts';
import { readToken, storeToken } from './token.ts';
import { createViewer } from './viewer.ts';

/* `/gallery?group=…`: the previews of a group's images, PDFs and videos; without a group, of everything. */

const PAGE = 200;
/** These are in view at once: they load before anything is scrolled. */
const EAGER = 12;

const group = new URLSearchParams(location.search).get('group') ?? '';
const api = createApi(readToken);
const viewer = createViewer(api);
const grid = byId<HTMLUListElement>('grid');
const message = byId('message');
const more = byId<HTMLButtonElement>('more');
const form = byId<HTMLFormElement>('token-form');
const shown: ShownUpload[] = [];
let cursor: string | undefined;

function tileOf(upload: ShownUpload, index: number): HTMLLIElement {
  const { media, size } = upload;
  const name = upload.filename ?? 'Unnamed file';
  const kind = kindOf(upload);
  const thumbnail = thumbnailOf(media);
  const picture = h('span', { class: 'picture' });
  picture.style.backgroundImage = placeholderImage(media?.placeholder);
  if (thumbnail === undefined) picture.append(icon(KIND_ICONS[kind]));
  else {
    picture.append(
      h('img', {
        src: api.at(thumbnail.url),
        alt: '',
        width: thumbnail.width,
        height: thumbnail.height,
        loading: index < EAGER ? 'eager' : 'lazy',
        decoding: 'async',
      }),
    );
  }
  if (kind === 'video') picture.append(badge(icon(ICONS.play), formatClock(media?.durationMs ?? 0)));
  if (kind === 'document' && media?.pages) picture.append(badge(icon(ICONS.document), String(media.pages)));
  const label = h('span', { class: 'label' }, h('span', { class: 'name', title: name }, name));
  if (size !== null) label.append(h('span', { class: 'size' }, formatBytes(size)));
  return h(
    'li',
    {},
    h(
      'button',
      {
        type: 'button',
        'aria-label': `Open ${name}`,
        onclick: () => viewer.open(shown, shown.indexOf(upload)),
      },
      picture,
    ),
    h(
      'div',
      { class: 'caption' },
      label,
      h(
        'a',
        {
          class: 'icon-button',
          href: api.at(media?.originalUrl ?? upload.url),
          download: true,
          'aria-label': `Download the original of ${name}`,
        },
        icon(ICONS.download),
      ),
    ),
  );
}

function badge(...children: (Node | string)[]): HTMLSpanElement {
  return h('span', { class: 'badge' }, ...children);
}

async function load(): Promise<void> {
  try {
    const page = await api.list({
      state: 'ready',
      limit: PAGE,
      ...(group === '' ? {} : { group }),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const added = page.uploads.filter((upload) => !upload.partial && isViewable(upload));
    grid.append(...added.map((upload, index) => tileOf(upload, shown.length + index)));
    shown.push(...added);
    cursor = page.nextCursor ?? undefined;
    setAttribute(form, 'hidden', true);
    setAttribute(more, 'hidden', cursor === undefined);
    setText(byId('count'), shown.length === 1 ? '1 item' : `${shown.length} items`);
    say(
      shown.length === 0 ? 'There is nothing to see here yet. Upload some images, PDFs or videos first.' : '',
    );
  } catch (error) {
    const status = error instanceof HttpFailure ? error.status : 0;
    setAttribute(form, 'hidden', status !== 401);
    say(
      status === 401
        ? 'This server shows its gallery to operators: enter the token.'
        : status === 403 || status === 404
          ? 'This server shows its gallery to operators only, and this page is none.'
          : 'The gallery cannot be read at this moment. Load the page again.',
    );
  } finally {
    setAttribute(grid, 'aria-busy', undefined);
  }
}

function say(text: string): void {
  setText(message, text);
  setAttribute(message, 'hidden', text === '');
}

const title = group === '' ? 'Gallery' : group;
setText(byId('title'), title);
document.title = `${title} · Landfall`;
byId<HTMLAnchorElement>('upload-link').href = group === '' ? './' : `./?${new URLSearchParams({ group })}`;
form.addEventListener('submit', (event) => {
  event.preventDefault();
  storeToken(byId<HTMLInputElement>('token').value);
  void load();
});
more.addEventListener('click', () => void load());
void load();
