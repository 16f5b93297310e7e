import type { Session, UploadOptions } from './options.ts';
import type { ProgressMeter } from './progress.ts';
import type { UnfinishedUpload } from './resume-store.ts';
import type { UploadSource } from './source.ts';

/** One run of one upload. */
export interface UploadRun {
  session: Session;
  /** Ends all that the session runs. */
  stop: AbortController;
  source: UploadSource;
  options: UploadOptions;
  meter: ProgressMeter;
  /** What is done, and to be remembered. */
  upload: UnfinishedUpload;
  /** Remembers it. */
  save(): Promise<void>;
  /** SHA-256 of all of the source, computed once; undefined where it is not to be declared. */
  digest: (() => Promise<string>) | undefined;
}

/** So little is hashed first: the digest then goes with the creation, and the server need not read it all again. */
export const HASH_FIRST_BYTES = 64 * 1000 ** 2;
/** Before the server has said anything, a wrong address is likelier than a passing failure. */
const FIRST_CONTACT_MS = 10_000;

/** Retries of the first request to a server. */
export function firstContact({ retry }: Session): Session['retry'] {
  return { ...retry, unreachableForMs: FIRST_CONTACT_MS };
}

/** Waits for all of them; when one fails, ends the others and throws its failure. */
export async function allOrStop(
  stop: AbortController,
  running: readonly (Promise<unknown> | undefined)[],
): Promise<void> {
  try {
    await Promise.all(running);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(running);
    throw error;
  }
}
