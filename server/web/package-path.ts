import { findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';

/** Where something of this package is, whether its sources run or what was built of them, one folder further down. */
export function packagePath(path: string): string {
  return join(dirname(findPackageJSON(import.meta.url) as string), path);
}
