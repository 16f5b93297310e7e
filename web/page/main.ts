import './theme.css';
import './page.css';
import { formatMilliseconds, formatSpeed } from '../format.ts';
import { createUploader } from '../uploader.ts';
import { createAccess } from './access.ts';
import { createApi } from './api.ts';
import { createChart } from './charts.ts';
import { startDashboard } from './dashboard.ts';
import { byId, setAttribute, setText } from './dom.ts';
import { startFeed } from './feed.ts';
import { readToken } from './token.ts';
import { showUploads } from './upload-list.ts';
import { arrivedBytes } from './upload-row.ts';
import { createUploadStore } from './upload-store.ts';
import { createViewer } from './viewer.ts';

/* The page at `/`: uploads by Uppy over `landfall/browser`, and what the server knows about all of them. */

const SECONDS_SHOWN = 120;
const PROCESSED_SHOWN = 40;

const api = createApi(readToken);
const store = createUploadStore();
const uploader = createUploader({ server: api.server });
const viewer = createViewer(api);
const access = createAccess(() => feed.restart());
const more = byId<HTMLButtonElement>('more');

const throughput = createChart({
  title: 'Throughput',
  hint: 'Last two minutes',
  format: formatSpeed,
  length: SECONDS_SHOWN,
  kind: 'line',
});
const active = createChart({
  title: 'Active uploads',
  hint: 'Last two minutes',
  format: (count) => String(count),
  length: SECONDS_SHOWN,
  kind: 'line',
});
const processing = createChart({
  title: 'Processing time',
  hint: 'Latest uploads',
  format: formatMilliseconds,
  length: PROCESSED_SHOWN,
  kind: 'bars',
});
byId('charts').append(throughput.element, active.element, processing.element);

const feed = startFeed({
  api,
  store,
  onState(state) {
    access.show(state);
    setText(
      byId('empty-text'),
      state === 'token'
        ? 'Enter the operator token to see what is on this server. Uploading works without it.'
        : 'What you upload appears here, with its progress, checksum and preview.',
    );
  },
  onMore: (hasMore) => setAttribute(more, 'hidden', !hasMore),
  onProcessed: (ms) => processing.push(ms),
});
more.addEventListener('click', () => void feed.more());

showUploads(
  api,
  store,
  {
    list: byId<HTMLUListElement>('uploads'),
    empty: byId('empty'),
    count: byId('count'),
    status: byId('status'),
  },
  (id) => {
    const upload = store.list().find(({ shown }) => shown.id === id);
    if (upload !== undefined) viewer.open([upload.shown], 0);
  },
);

const followed = new Set<string>();
startDashboard({
  uploader,
  onChange({ progress }) {
    const { id, status, sentBytes, bytesPerSecond } = progress;
    if (id === undefined) return;
    if (!followed.has(id)) {
      followed.add(id);
      feed.follow(id);
    }
    store.local(id, status === 'cancelled' ? undefined : { sentBytes, bytesPerSecond, status });
    if (status === 'done' || status === 'cancelled') feed.follow(id);
  },
});

let arrivedBefore = 0;
setInterval(() => {
  const arrived = store.arrivedBytes();
  throughput.push(arrived - arrivedBefore);
  arrivedBefore = arrived;
  const unfinished = store.list().filter(({ shown }) => shown.state === 'receiving');
  active.push(unfinished.filter((upload) => hasMoved(upload.shown.id, arrivedBytes(upload))).length);
}, 1000);

/** Active is what got a byte within the last seconds: abandoned uploads stay `receiving` until they expire. */
const ACTIVE_MS = 5000;
const moved = new Map<string, { bytes: number; atMs: number }>();
function hasMoved(id: string, bytes: number): boolean {
  const now = performance.now();
  const before = moved.get(id);
  if (before === undefined || before.bytes !== bytes)
    moved.set(id, { bytes, atMs: before === undefined ? now - ACTIVE_MS : now });
  return now - (moved.get(id)?.atMs ?? 0) < ACTIVE_MS;
}
