/**
 * Builds what an installed package runs and others import: `node build.ts [package directory]`, by default this one.
 * The pages are built by web/build.ts.
 *
 * - `dist/`: Node strips no types below node_modules, so there the programs are JavaScript, in the same tree and with
 *   what they find by its path (Lua scripts) beside them. Of the declarations only landfall/client's: nobody imports
 *   anything else.
 * - `web/dist/modules/`: landfall/browser and landfall/react.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, globSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = import.meta.dirname;
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');
const LUA = '{server,stores,processors,client,cli}/**/*.lua';

function build(directory: string): boolean {
  const programs = join(directory, 'dist');
  const modules = join(directory, 'web/dist/modules');
  // What has no source any more must not be shipped.
  for (const built of [programs, modules]) rmSync(built, { recursive: true, force: true });
  for (const path of globSync(LUA, { cwd: ROOT })) cpSync(join(ROOT, path), join(programs, path));
  return (
    compile('tsconfig.build.json', programs) &&
    compile('tsconfig.client.json', programs) &&
    compile('web/tsconfig.modules.json', modules)
  );
}

function compile(project: string, outDir: string): boolean {
  const { status, error } = spawnSync(process.execPath, [TSC, '-p', project, '--outDir', outDir], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (error !== undefined) throw error;
  return status === 0;
}

if (!build(resolve(process.argv[2] ?? ROOT))) process.exitCode = 1;
