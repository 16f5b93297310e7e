import type { UploadCatalog } from '../../stores/catalog/types.ts';
import type { ImportingStore, ImportSource } from '../../stores/import-types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { recordOf } from '../uploads/finish.ts';

/** Objects that are looked at at the same time. */
const CONCURRENCY = 16;

export interface ImportCounts {
  imported: number;
  /** Imported before. */
  known: number;
  /** Imported before, and deleted since: not brought back. */
  deleted: number;
  /** Removed by their owner while we worked. */
  gone: number;
  failed: number;
  /** Of those that were imported. */
  bytes: number;
}

export interface ImportOptions {
  importing: ImportingStore;
  catalog: Pick<UploadCatalog, 'create' | 'get' | 'flush'>;
  /** Prefix of keys, or a directory. */
  where: string;
  /** Nothing is written: `imported` counts what would be looked at. */
  isDryRun: boolean;
  signal: AbortSignal;
  onProgress(counts: Readonly<ImportCounts>): void;
  onFailed(source: ImportSource, error: unknown): void;
}

/**
 * Makes uploads of what is there already. Each is made and recorded on its own, so that an interrupted import goes on
 * where it was when it is run again; running it twice, or in two processes, changes nothing. Their ends (verification,
 * previews) are the server's, which finds them in the catalog as uploads with all of their bytes.
 *
 * @throws what the listing throws; a single object that fails is told and counted
 */
export async function importUploads(options: ImportOptions): Promise<ImportCounts> {
  const { importing, catalog, where, isDryRun, signal, onProgress, onFailed } = options;
  const counts: ImportCounts = { imported: 0, known: 0, deleted: 0, gone: 0, failed: 0, bytes: 0 };
  const running = new Set<Promise<void>>();

  async function record(upload: StoredUpload): Promise<void> {
    // One that is there may be further.
    if ((await catalog.get(upload.id)) === undefined) await catalog.create(recordOf(upload));
  }

  async function importOne(source: ImportSource): Promise<void> {
    try {
      const adopted = await importing.adopt(source);
      if ('upload' in adopted) await record(adopted.upload);
      counts[adopted.outcome] += 1;
      if (adopted.outcome === 'imported') counts.bytes += source.size;
    } catch (error) {
      counts.failed += 1;
      onFailed(source, error);
    }
    onProgress(counts);
  }

  try {
    for await (const source of importing.list(where)) {
      if (signal.aborted) break;
      if (isDryRun) {
        counts.imported += 1;
        counts.bytes += source.size;
        onProgress(counts);
        continue;
      }
      const task = importOne(source).finally(() => running.delete(task));
      running.add(task);
      if (running.size >= CONCURRENCY) await Promise.race(running);
    }
  } finally {
    // Also when the listing fails: what is under way needs the store.
    await Promise.all(running);
  }
  await catalog.flush();
  return counts;
}
