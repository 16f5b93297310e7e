import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { packagePath } from './package-path.ts';

export type Encoding = 'br' | 'gzip';

/** A file of the pages, in memory: all of them together have less than a megabyte. */
export interface PageFile {
  contentType: string;
  /** Strong, without quotes. */
  etag: string;
  modifiedAtMs: number;
  bytes: Buffer;
  encoded: Partial<Record<Encoding, Buffer>>;
}

export interface PageFiles {
  index: PageFile;
  gallery: PageFile;
  /** By name; a name changes with the content. */
  assets: ReadonlyMap<string, PageFile>;
}

const CONTENT_TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.woff2': 'font/woff2',
  '.wasm': 'application/wasm',
};

function builtPages(): string {
  return packagePath('web/dist/page');
}

/** Whether the pages have been built. */
export function hasPageFiles(directory = builtPages()): boolean {
  return existsSync(join(directory, 'index.html'));
}

/** Reads what web/build.ts made. Throws when that is not all there. */
export function readPageFiles(directory = builtPages()): PageFiles {
  const assetsDirectory = join(directory, 'assets');
  const names = readdirSync(assetsDirectory).filter((name) => !/\.(?:br|gz)$/.test(name));
  return {
    index: readPageFile(join(directory, 'index.html')),
    gallery: readPageFile(join(directory, 'gallery.html')),
    assets: new Map(names.map((name) => [name, readPageFile(join(assetsDirectory, name))])),
  };
}

function readPageFile(path: string): PageFile {
  const bytes = readFileSync(path);
  const encoded: PageFile['encoded'] = {};
  if (existsSync(`${path}.br`)) encoded.br = readFileSync(`${path}.br`);
  if (existsSync(`${path}.gz`)) encoded.gzip = readFileSync(`${path}.gz`);
  return {
    contentType: CONTENT_TYPES[extname(path)] ?? 'application/octet-stream',
    etag: createHash('sha256').update(bytes).digest('base64url').slice(0, 27),
    modifiedAtMs: statSync(path).mtimeMs,
    bytes,
    encoded,
  };
}
