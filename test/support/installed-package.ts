import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');
/** What is shipped as it lies there; the page is built once for all tests (services.ts). */
const READY = ['package.json', 'bin', 'web/dist/page'];
const run = promisify(execFile);

/**
 * Installs the package in an empty directory, as npm does, but without a network: what `npm pack` puts into the tarball, the
 * command, and of the project's packages those that it says it depends on.
 */
export async function installPackage(directory: string): Promise<void> {
  const built = join(directory, 'built');
  const installed = join(directory, 'node_modules/landfall');
  await mkdir(installed, { recursive: true });
  await run(process.execPath, [join(ROOT, 'build.ts'), built], { cwd: directory });
  for (const name of READY) await cp(join(ROOT, name), join(built, name), { recursive: true });
  await run('npm', ['pack', '--ignore-scripts', '--offline', '--pack-destination', directory], {
    cwd: built,
    env: npmEnvironment(directory),
  });
  const { version, dependencies, bin } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
    dependencies: Record<string, string>;
    bin: Record<string, string>;
  };
  const tarball = join(directory, `landfall-${version}.tgz`);
  await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1']);
  for (const name of Object.keys(dependencies)) {
    const link = join(directory, 'node_modules', name);
    await mkdir(dirname(link), { recursive: true });
    await symlink(join(ROOT, 'node_modules', name), link);
  }
  await mkdir(join(directory, 'node_modules/.bin'));
  for (const [name, program] of Object.entries(bin)) {
    await symlink(join('../landfall', program), join(directory, 'node_modules/.bin', name));
  }
}

/** npm that asks nobody, and leaves nothing behind but in that directory. */
export function npmEnvironment(directory: string): Record<string, string> {
  return {
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    HOME: directory,
    npm_config_cache: join(directory, '.npm'),
    npm_config_update_notifier: 'false',
  };
}
