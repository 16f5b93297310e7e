/**
 * `landfall import <prefix>` (`node server/import/main.ts`): makes uploads of objects that are in the bucket already,
 * or of the files of a directory. Exit codes: 0 everything was taken, 1 something was not, 78 the configuration or the
 * call is wrong.
 */
import { parseArgs } from 'node:util';
import { openBackend } from '../backend.ts';
import { CONFIG_EXIT_CODE, type Config, ConfigError, loadConfig } from '../config.ts';
import { createLog } from '../log.ts';
import { type ImportCounts, importUploads } from './import-uploads.ts';

const USAGE = `Usage: landfall import <prefix> [--dry-run]

Makes uploads of what is there already: of the objects of the configured bucket whose keys start with <prefix>, or
(with LANDFALL_STORE=file) of the files in the directory <prefix>. Nothing is moved or changed, and deleting such an
upload deletes nothing that was there before. Safe to interrupt and to run again.

  --dry-run   count what would be taken, and write nothing
`;
const PROGRESS_INTERVAL_MS = 2_000;

async function main(args: string[]): Promise<number> {
  const call = parseCall(args);
  if (call === undefined) {
    process.stderr.write(USAGE);
    return CONFIG_EXIT_CODE;
  }
  if (call.isHelp) {
    process.stdout.write(USAGE);
    return 0;
  }
  let config: Config;
  try {
    config = loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return CONFIG_EXIT_CODE;
  }
  return runImport(config, call.where, call.isDryRun);
}

function parseCall(args: string[]) {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { 'dry-run': { type: 'boolean' }, help: { type: 'boolean' } },
    });
    const [where, ...others] = positionals;
    if (values.help === true) return { isHelp: true as const };
    // An empty prefix is the whole bucket, and has to be said ('').
    if (where === undefined || others.length > 0) return undefined;
    return { isHelp: false as const, where, isDryRun: values['dry-run'] === true };
  } catch {
    return undefined;
  }
}

async function runImport(config: Config, where: string, isDryRun: boolean): Promise<number> {
  const log = createLog(config.logLevel === 'info' ? 'warn' : config.logLevel);
  const backend = await openBackend(config, { log, onRecordsLost: () => {} });
  const stop = new AbortController();
  // What is under way is finished; a second signal ends the program as it always does.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  let shownAtMs = Date.now();
  try {
    const { importing } = backend.store;
    if (importing === undefined) throw new Error('this store cannot import');
    const counts = await importUploads({
      importing,
      catalog: backend.catalog,
      where,
      isDryRun,
      signal: stop.signal,
      onProgress(soFar) {
        if (Date.now() - shownAtMs < PROGRESS_INTERVAL_MS) return;
        shownAtMs = Date.now();
        process.stderr.write(`  ${describe(soFar, isDryRun)}\n`);
      },
      onFailed(source, error) {
        process.stderr.write(
          `  failed: ${source.name}: ${error instanceof Error ? error.message : String(error)}\n`,
        );
      },
    });
    process.stdout.write(`${describe(counts, isDryRun)}\n`);
    if (stop.signal.aborted) process.stdout.write('Interrupted: run it again to go on.\n');
    return counts.failed > 0 || stop.signal.aborted ? 1 : 0;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    process.stderr.write(`landfall import: ${error.message}\n`);
    return CONFIG_EXIT_CODE;
  } finally {
    await backend.close();
  }
}

function describe(counts: Readonly<ImportCounts>, isDryRun: boolean): string {
  if (isDryRun) return `${counts.imported} would be imported or are known (${shownBytes(counts.bytes)})`;
  const others = [
    counts.known > 0 ? `${counts.known} known` : '',
    counts.deleted > 0 ? `${counts.deleted} deleted before` : '',
    counts.gone > 0 ? `${counts.gone} gone` : '',
    counts.failed > 0 ? `${counts.failed} failed` : '',
  ].filter((text) => text !== '');
  return [`${counts.imported} imported (${shownBytes(counts.bytes)})`, ...others].join(', ');
}

function shownBytes(bytes: number): string {
  return `${bytes.toLocaleString('en-US')} bytes`;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`landfall import: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  },
);
