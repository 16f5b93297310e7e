import Uppy from '@uppy/core';
import Dashboard from '@uppy/dashboard';
import GoldenRetriever from '@uppy/golden-retriever';
import '@uppy/core/css/style.min.css';
import '@uppy/dashboard/css/style.min.css';
import type { BrowserUpload, Uploader } from '../uploader.ts';
import { byId, setText } from './dom.ts';
import { LandfallUploads } from './uppy-landfall.ts';

export interface DashboardOptions {
  uploader: Uploader;
  onChange: (upload: BrowserUpload) => void;
}

/** Uppy's Dashboard over our uploader, with the two choices beside it: a group, and checksums. */
export function startDashboard({ uploader, onChange }: DashboardOptions): void {
  const checksum = byId<HTMLInputElement>('checksum');
  const group = byId<HTMLInputElement>('group');
  const uppy = new Uppy({ id: 'landfall' });
  uppy.use(Dashboard, {
    target: byId('dashboard'),
    inline: true,
    width: '100%',
    height: 340,
    theme: 'auto',
    proudlyDisplayPoweredByUppy: false,
    showRemoveButtonAfterComplete: true,
    hideProgressDetails: false,
    fileManagerSelectionType: 'both',
    note: 'Any size. Interrupted uploads go on where they stopped.',
  });
  // Before the restorer: what it brings back may start at once.
  uppy.use(LandfallUploads, { uploader, checksum: () => checksum.checked, onChange });
  uppy.use(GoldenRetriever, {});

  // Uppy tells the reason in a tooltip only.
  const problem = byId('problem');
  uppy.on('upload-error', (file, error) => setText(problem, `${file?.name ?? 'A file'}: ${error.message}`));
  uppy.on('upload', () => setText(problem, ''));

  const setGroup = () => uppy.setMeta({ group: group.value.trim() });
  group.value = new URLSearchParams(location.search).get('group') ?? '';
  group.addEventListener('input', setGroup);
  setGroup();
}
