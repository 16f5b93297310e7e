import type { StoredUpload } from '../stored-upload.ts';
import type { StoreContext } from './context.ts';
import type { UploadInfo } from './info.ts';

/** What the first info object of an upload says. */
export function newInfo(upload: StoredUpload, context: StoreContext): UploadInfo {
  const { expirationMs, environment } = context;
  return {
    format: 1,
    version: 1,
    id: upload.id,
    size: upload.size ?? null,
    rawMetadata: upload.rawMetadata ?? null,
    concat: upload.concat ?? null,
    declaredDigest: upload.declaredDigest ?? null,
    createdAtMs: upload.createdAtMs,
    expiresAtMs: expirationMs > 0 ? environment.nowMs() + expirationMs : null,
    partSize: null,
    multipartId: null,
    state: 'open',
    goneAtMs: null,
  };
}
