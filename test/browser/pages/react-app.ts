import { DownloadButton, useDualQuality, useUpload } from 'landfall/react';
import { type ChangeEvent, createElement as h, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

/* An application of somebody else: what is chosen is uploaded to the server that the address names. */

const server = new URLSearchParams(location.search).get('server') ?? '';

function App() {
  const { uploads, add } = useUpload({ server, checksum: true });
  const choose = (event: ChangeEvent<HTMLInputElement>) => void add(event.target.files ?? []);
  return h(
    'main',
    {},
    h('label', {}, 'Files ', h('input', { type: 'file', onChange: choose })),
    uploads.map(({ name, progress }) => h(Upload, { key: name, name, progress })),
  );
}

function Upload({
  name,
  progress,
}: {
  name: string;
  progress: { status: string; way?: string | undefined; id: string | undefined };
}) {
  const media = useDualQuality(progress.id, { server });
  return h(
    'section',
    {
      'aria-label': name,
      'data-status': progress.status,
      'data-way': progress.way,
      'data-media': media.status,
    },
    media.previewUrl === undefined ? null : h('img', { src: media.previewUrl, alt: name }),
    h(DownloadButton, { media, className: 'download' }),
  );
}

createRoot(document.body.appendChild(document.createElement('div'))).render(h(StrictMode, {}, h(App)));
