import { setTimeout as sleep } from 'node:timers/promises';
import { abortedError, ClientError } from './errors.ts';
import type { Session } from './options.ts';
import { declareSha256, showUpload } from './server-api.ts';
import type { ShownUpload } from './shown-upload.ts';

const FIRST_WAIT_MS = 50;
const MAX_WAIT_MS = 2_000;

/**
 * Waits until the server has compared the SHA-256 of a finished upload with what it stored. Declares it, where the
 * last byte had arrived before it could be.
 *
 * @throws ClientError rejected: it is another one; refused: the server will not say
 */
export async function awaitVerification(session: Session, id: string, sha256: string): Promise<void> {
  const { signal } = session.connection;
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MAX_WAIT_MS, waitMs * 2)) {
    let upload = await showUpload(session, id);
    if (upload.state !== 'rejected' && upload.sha256 === null && upload.declaredSha256 === null) {
      upload = await declareSha256(session, id, sha256);
    }
    const verdict = verdictOn(upload, sha256);
    if (verdict === 'right') return;
    if (verdict !== undefined) throw verdict;
    await sleep(waitMs, undefined, { signal }).catch(() => {
      throw abortedError(signal);
    });
  }
}

/** Undefined: not known yet. */
function verdictOn(upload: ShownUpload, sha256: string): 'right' | ClientError | undefined {
  const details = { serverCode: upload.reason?.code };
  const because = upload.reason === null ? '' : `: ${upload.reason.message}`;
  if (upload.state === 'rejected')
    return new ClientError('rejected', `the server rejected it${because}`, details);
  if (upload.state === 'aborted' || upload.state === 'expired') {
    return new ClientError('upload_gone', `the upload is ${upload.state}${because}`, details);
  }
  if (upload.sha256 === sha256) return 'right';
  if (upload.sha256 !== null) {
    return new ClientError(
      'rejected',
      `the server has stored other bytes: their SHA-256 is ${upload.sha256}`,
    );
  }
  if (upload.state === 'failed' || upload.state === 'ready') {
    return new ClientError('refused', `the server has not verified it${because}`, details);
  }
  return undefined;
}
