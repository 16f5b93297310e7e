/**
 * Builds the pages into web/dist/page, unless what is there was made of just these sources: `node web/build.ts`.
 * Without Vite (a production install) nothing is built and nothing is wrong: the server says that it has no page.
 */
import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync, rmSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

const WEB = import.meta.dirname;
const PAGE = join(WEB, 'dist/page');
const STAMP = 'built-from';
/** Smaller files are not worth a second copy. */
const MIN_COMPRESSED_BYTES = 1024;

async function main(): Promise<void> {
  const source = hashSources();
  if (readStamp() === source) return;
  const vite = await importVite();
  if (vite === undefined) return;
  // Beside the old one, which is served until the new one is whole.
  const directory = join(WEB, `dist/page-${process.pid}`);
  try {
    await vite.build({
      configFile: join(WEB, 'vite.config.ts'),
      configLoader: 'native',
      build: { outDir: directory },
    });
    await compress(join(directory, 'assets'));
    await writeFile(join(directory, STAMP), source);
    await putInPlace(directory, source);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Of everything that the bundle depends on; times of files say little after a checkout. */
function hashSources(): string {
  const hash = createHash('sha256');
  const sources = globSync('**/*', { cwd: WEB, exclude: (name) => name === 'dist' }).sort();
  for (const name of [...sources, '../package-lock.json']) {
    const path = join(WEB, name);
    if (existsSync(path) && statSync(path).isFile()) hash.update(`${name}\0`).update(readFileSync(path));
  }
  return hash.digest('hex');
}

function readStamp(): string | undefined {
  const path = join(PAGE, STAMP);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

async function importVite(): Promise<typeof import('vite') | undefined> {
  try {
    return await import('vite');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** Once, at its best, instead of for every visitor. */
async function compress(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const bytes = await readFile(join(directory, name));
    if (bytes.length < MIN_COMPRESSED_BYTES) continue;
    const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 10 } };
    await writeFile(join(directory, `${name}.br`), await promisify(brotliCompress)(bytes, quality));
    await writeFile(join(directory, `${name}.gz`), await promisify(gzip)(bytes, { level: 9 }));
  }
}

/** Somebody who built the same at the same time may have been faster. */
async function putInPlace(directory: string, source: string): Promise<void> {
  if (readStamp() === source) return;
  await mkdir(join(WEB, 'dist'), { recursive: true });
  const old = `${directory}-old`;
  try {
    if (existsSync(PAGE)) await rename(PAGE, old);
    await rename(directory, PAGE);
  } catch (error) {
    if (readStamp() !== source) throw error;
  } finally {
    await rm(old, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(
    `The browser page could not be built: ${error instanceof Error ? error.message : error}\n`,
  );
  process.exitCode = 1;
});
