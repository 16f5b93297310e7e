import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { packagePath } from './package-path.ts';

/**
 * Builds the browser page where it is missing or old, in a process of its own: the bundler's memory is gone afterwards.
 * What goes wrong there is told there, and keeps nobody from uploading. An image or a package has the finished page
 * and not its sources: then there is nothing to do.
 */
export async function buildPage(): Promise<void> {
  const program = packagePath('web/build.ts');
  if (!existsSync(program)) return;
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'inherit', 'inherit'] });
  await Promise.race([once(child, 'exit'), once(child, 'error')]);
}
