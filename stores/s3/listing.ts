import type { StoreContext } from './context.ts';
import type { ListObjectsPage } from './port.ts';
import { withRetries } from './retry.ts';

/** What one listing of the bucket tells about an upload. */
export interface ListedUpload {
  id: string;
  infoModifiedAtMs: number;
  /** Undefined: no original was seen (yet). */
  originalSize: number | undefined;
  hasTails: boolean;
  /** A direct upload's object that was not made the original yet, or landed after that. */
  hasStaged: boolean;
}

/**
 * Every upload that has an info object. `<id>`, `<id>.direct`, `<id>.info` and `<id>.tail/` are neighbours in a
 * listing, so one pass tells them together; an id that continues another one may come between, and then the other
 * fields say too little, which costs a look at the info object and nothing else.
 */
export async function* listStoredUploads(context: StoreContext): AsyncGenerator<ListedUpload> {
  const { keys } = context;
  let original: { id: string; size: number } | undefined;
  let stagedId: string | undefined;
  let pending: ListedUpload | undefined;
  for await (const entry of listEntries(context)) {
    const infoId = keys.parseInfo(entry.key);
    if (infoId !== undefined) {
      if (pending !== undefined) yield pending;
      const originalSize = original?.id === infoId ? original.size : undefined;
      const hasStaged = stagedId === infoId;
      pending = {
        id: infoId,
        infoModifiedAtMs: entry.modifiedAtMs,
        originalSize,
        hasTails: false,
        hasStaged,
      };
      continue;
    }
    if (pending !== undefined && entry.key === keys.tails(pending.id)) pending.hasTails = true;
    stagedId = keys.parseStaged(entry.key) ?? stagedId;
    const originalId = keys.parseOriginal(entry.key);
    if (originalId !== undefined) original = { id: originalId, size: entry.size };
  }
  if (pending !== undefined) yield pending;
}

/** Objects and common prefixes under our prefix, merged in the order of their names. */
async function* listEntries(
  context: StoreContext,
): AsyncGenerator<{ key: string; size: number; modifiedAtMs: number }> {
  const { s3, keys, environment, retry } = context;
  let continuation: string | undefined;
  do {
    const request = {
      prefix: keys.prefix,
      delimiter: '/' as const,
      ...(continuation === undefined ? {} : { continuation }),
    };
    const page: ListObjectsPage = await withRetries(environment, retry, () => s3.listObjects(request));
    const prefixes = page.prefixes.map((key) => ({ key, size: 0, modifiedAtMs: 0 }));
    const entries = [...page.objects, ...prefixes];
    yield* entries.sort((a, b) => (a.key < b.key ? -1 : 1));
    continuation = page.continuation;
  } while (continuation !== undefined);
}
