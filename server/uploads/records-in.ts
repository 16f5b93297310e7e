import type { UploadCatalog, UploadRecord, UploadState } from '../../stores/catalog/types.ts';

const PAGE = 500;

/** Every record in a state, page by page, until `signal` aborts. Records may change state meanwhile. */
export async function* recordsIn(
  catalog: UploadCatalog,
  state: UploadState,
  signal: AbortSignal,
): AsyncGenerator<UploadRecord> {
  let cursor: string | undefined;
  do {
    const page = await catalog.list({ state }, { limit: PAGE, cursor });
    for (const record of page.items) {
      if (signal.aborted) return;
      yield record;
    }
    cursor = page.nextCursor;
  } while (cursor !== undefined);
}
