/*
 * A process of its own that writes to a SQLite catalog, to be killed or starved of disk by a test.
 * Arguments: the catalog's path, and `die` or `fill`. Prints one line of JSON per step.
 */
import { openSqliteCatalog } from '../../stores/catalog/sqlite.ts';
import { newUploadRecord } from '../../stores/catalog/types.ts';
import { isStoreError } from '../../stores/errors.ts';

const [path = '', mode] = process.argv.slice(2);
const failures: { code: string; lostWrites: number }[] = [];
const catalog = openSqliteCatalog({
  path,
  onCommitFailed: (error, lostWrites) => failures.push({ code: error.code, lostWrites }),
});

function record(id: string, rawMetadata: string | null = null) {
  return newUploadRecord({ id, size: 5, rawMetadata, createdAtMs: 1_750_000_000_000 });
}

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'ok',
    (error: unknown) => (isStoreError(error) ? error.code : String(error)),
  );
}

await catalog.create(record('flushed'));
await catalog.flush();

if (mode === 'die') {
  await catalog.create(record('pending'));
  process.kill(process.pid, 'SIGKILL');
}

if (mode === 'fill') {
  // The parent limits the size of files: what follows does not fit into the write-ahead log.
  for (let index = 0; index < 40; index++) await catalog.create(record(`big${index}`, 'x'.repeat(20_000)));
  const flush = await codeOf(catalog.flush());
  const check = await codeOf(catalog.check());
  const hasLost = (await catalog.get('big0')) === undefined;
  const hasFlushed = (await catalog.get('flushed')) !== undefined;
  // What fits is taken again, and once the failure was told the catalog is well again.
  await catalog.create(record('small'));
  const checks = [await codeOf(catalog.check()), await codeOf(catalog.check())];
  await catalog.close();
  console.log(JSON.stringify({ failures, flush, check, checks, hasLost, hasFlushed }));
}
