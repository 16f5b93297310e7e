import type { Api } from './api.ts';
import { setAttribute, setText } from './dom.ts';
import { createUploadRow, type UploadRow } from './upload-row.ts';
import type { ListedUpload, UploadStore } from './upload-store.ts';

export interface UploadListParts {
  list: HTMLUListElement;
  empty: HTMLElement;
  count: HTMLElement;
  /** Read out by screen readers, politely. */
  status: HTMLElement;
}

const ENDS: Record<string, string> = {
  ready: 'is ready',
  rejected: 'was rejected',
  failed: 'failed',
  expired: 'expired',
};

/** Keeps the list as the store has it, and says aloud what ended. */
export function showUploads(
  api: Api,
  store: UploadStore,
  parts: UploadListParts,
  onView: (id: string) => void,
): void {
  const rows = new Map<string, UploadRow>();
  const states = new Map<string, string>();

  const announce = ({ shown }: ListedUpload) => {
    const before = states.get(shown.id);
    states.set(shown.id, shown.state);
    const end = ENDS[shown.state];
    if (before === undefined || before === shown.state || end === undefined) return;
    setText(parts.status, `${shown.filename ?? 'A file'} ${end}.`);
  };

  const render = () => {
    const uploads = store.list();
    const ids = new Set(uploads.map(({ shown }) => shown.id));
    for (const [id, row] of rows) {
      if (ids.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    uploads.forEach((upload, index) => {
      let row = rows.get(upload.shown.id);
      if (row === undefined) {
        row = createUploadRow(api, onView);
        rows.set(upload.shown.id, row);
      }
      row.update(upload);
      announce(upload);
      // Moving an element that is where it belongs would take the focus from it.
      const there = parts.list.children[index];
      if (there !== row.element) parts.list.insertBefore(row.element, there ?? null);
    });
    setAttribute(parts.empty, 'hidden', uploads.length > 0);
    setAttribute(parts.list, 'hidden', uploads.length === 0);
    setText(parts.count, uploads.length === 0 ? '' : String(uploads.length));
  };
  // Events come faster than anybody can read.
  let frame = 0;
  store.subscribe(() => {
    if (frame !== 0) return;
    frame = requestAnimationFrame(() => {
      frame = 0;
      render();
    });
  });
  render();
}
