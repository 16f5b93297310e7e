import { setTimeout as sleep } from 'node:timers/promises';
import { abortedError, ClientError } from './errors.ts';
import type { Session } from './options.ts';
import { uploadUrlOf } from './server-address.ts';
import { showUpload } from './server-api.ts';
import type { ShownPreview, ShownUpload } from './shown-upload.ts';

/** What is to be downloaded, and where it is. */
export interface DownloadSource {
  url: string;
  /** What the server has computed of it, in hexadecimal. */
  sha256: string | undefined;
}

const FIRST_WAIT_MS = 100;
const MAX_WAIT_MS = 2_000;
/** What stands for the whole of an upload, best first. */
const PREVIEWS: readonly ShownPreview['variant'][] = ['preview', 'page', 'poster'];

/** The original of an upload. Waits until it was verified. */
export async function findOriginal(session: Session, idOrUrl: string): Promise<DownloadSource> {
  const upload = await showFinished(
    session,
    idOrUrl,
    ({ state, sha256 }) => state !== 'received' || sha256 !== null,
  );
  const { media, sha256 } = upload;
  // Where originals are served to signed addresses only.
  const isSigned = media != null && media.urlsExpireAt !== null;
  return {
    url: isSigned ? absolute(session, media.originalUrl) : uploadUrlOf(session.address, upload.id),
    sha256: sha256 ?? undefined,
  };
}

/**
 * The best preview of an upload. Waits until it was made.
 *
 * @throws ClientError refused (preview_not_found): there is none, and why
 */
export async function findPreview(
  session: Session,
  idOrUrl: string,
): Promise<DownloadSource & { preview: ShownPreview; filename: string | null }> {
  const upload = await showFinished(
    session,
    idOrUrl,
    ({ state }) => state !== 'received' && state !== 'processing',
  );
  const { media, filename } = upload;
  const previews = media?.previews ?? [];
  const preview = PREVIEWS.map((variant) => previews.find((each) => each.variant === variant)).find(Boolean);
  if (preview === undefined) {
    const because = media?.missing == null ? '' : `: ${media.missing.message}`;
    throw new ClientError('refused', `there is no preview of it${because}`, {
      serverCode: media?.missing?.code ?? 'preview_not_found',
    });
  }
  return { url: absolute(session, preview.url), sha256: undefined, preview, filename };
}

async function showFinished(
  session: Session,
  idOrUrl: string,
  isEnough: (upload: ShownUpload) => boolean,
): Promise<ShownUpload> {
  const { signal } = session.connection;
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MAX_WAIT_MS, waitMs * 2)) {
    const upload = await showUpload(session, idOrUrl);
    if (upload.state === 'receiving') throw new ClientError('refused', 'it is not complete yet');
    if (isEnough(upload)) return upload;
    await sleep(waitMs, undefined, { signal }).catch(() => {
      throw abortedError(signal);
    });
  }
}

/** Addresses of media are a CDN's, or start at the server's root, which may be below a proxy's. */
function absolute({ address }: Session, url: string): string {
  return url.startsWith('/') ? `${address.root}${url}` : url;
}
