import { lstat, readdir, stat } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import { UsageError } from './exit-codes.ts';

/** One thing to upload. */
export interface UploadItem {
  /** As it is called in messages; `-` is the standard input. */
  name: string;
  path: string;
  /** From the directory that was named on, with slashes: where it belongs among the others. */
  relativePath: string | undefined;
}

export const STDIN = '-';

/**
 * What a command line names: files, directories with everything in them, the standard input. Links in directories are
 * followed to files, and not into other directories (they could go in circles); sockets and the like are left out.
 *
 * @param onSkipped told what is left out, and why
 * @throws UsageError
 */
export async function listUploads(
  paths: readonly string[],
  options: { isRecursive: boolean; onSkipped: (path: string, why: string) => void },
): Promise<UploadItem[]> {
  if (paths.filter((path) => path === STDIN).length > 1) {
    throw new UsageError('the standard input can be uploaded once: "-" was given twice');
  }
  const items: UploadItem[] = [];
  for (const path of paths) {
    // What is not there fails when it is opened, and the others are uploaded.
    const isDirectory = path !== STDIN && (await stat(path).catch(() => undefined))?.isDirectory() === true;
    if (!isDirectory) {
      items.push({ name: path === STDIN ? 'standard input' : path, path, relativePath: undefined });
    } else if (options.isRecursive) {
      const top = basename(resolve(path));
      for await (const relative of walk(path, options.onSkipped)) {
        items.push({
          name: join(path, relative),
          path: join(path, relative),
          relativePath: [top, ...relative.split(sep)].filter((part) => part !== '').join('/'),
        });
      }
    } else {
      throw new UsageError(`${path} is a directory: add --recursive to upload what is in it`);
    }
  }
  return items;
}

async function* walk(
  directory: string,
  onSkipped: (path: string, why: string) => void,
  below = '',
): AsyncGenerator<string> {
  const entries = await readdir(join(directory, below), { withFileTypes: true });
  for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
    const relative = join(below, entry.name);
    const path = join(directory, relative);
    if (entry.isDirectory()) yield* walk(directory, onSkipped, relative);
    else if (entry.isFile()) yield relative;
    else if (entry.isSymbolicLink()) {
      const target = await stat(path).catch(() => undefined);
      if (target?.isFile() === true) yield relative;
      else
        onSkipped(path, target === undefined ? 'a link to nothing' : 'a link to something that is no file');
    } else if (!(await lstat(path)).isFile()) onSkipped(path, 'not a regular file');
  }
}
