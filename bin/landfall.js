#!/usr/bin/env node
// Runs the command line with a Node that can: this one, or the npm package `node` beside it. Plain JavaScript without
// anything new in it, because an old Node has to understand it first.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import module from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
// A checkout (or an image of one) runs its sources. A package has what was built of them instead: Node runs no
// TypeScript below node_modules.
const source = join(root, 'cli/main.ts');
const entry = existsSync(source) ? source : join(root, 'dist/cli/main.js');

if (process.env.npm_command === 'exec') endWithParent();
if (isNewEnough(process.versions.node)) {
  // Half of a start is compilation. It is kept below the system's directory for temporary files, as npm does.
  module.enableCompileCache();
  process.argv[1] = entry;
  await import(pathToFileURL(entry).href);
} else {
  const node = otherNode();
  if (node === undefined) {
    process.stderr.write(
      `landfall needs Node 22.18 or newer; this is ${process.version}. ` +
        'Where that has to stay, `npm install node@24` beside landfall is enough.\n',
    );
    process.exitCode = 1;
  } else {
    const child = spawn(node, [entry, ...process.argv.slice(2)], { stdio: 'inherit' });
    // A terminal sends Ctrl-C to both; what is sent to this process alone has to be passed on.
    process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    process.on('SIGHUP', () => child.kill('SIGHUP'));
    child.on('error', (error) => {
      process.stderr.write(`landfall: ${node}: ${error.message}\n`);
      process.exitCode = 1;
    });
    child.on('exit', (code, signal) => {
      if (signal === null) {
        process.exitCode = code ?? 1;
      } else {
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
    });
  }
}

function isNewEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 18);
}

/** The npm package `node`, which a checkout has, and anybody can install beside an installed landfall. */
function otherNode() {
  try {
    const packageJson = module.createRequire(import.meta.url).resolve('node/package.json');
    const path = join(dirname(packageJson), 'bin/node');
    const { version } = JSON.parse(readFileSync(packageJson, 'utf8'));
    return existsSync(path) && isNewEnough(version) ? path : undefined;
  } catch {
    return undefined;
  }
}

/**
 * npx starts this by a shell, and a SIGTERM to npx ends that shell and nothing else: a server would stay behind unseen.
 * Where a signal reaches all of them (Ctrl-C, systemd), this process has been told already: a second one would cut it off.
 */
function endWithParent() {
  const { ppid } = process;
  const watch = setInterval(() => {
    if (process.ppid === ppid) return;
    clearInterval(watch);
    process.kill(process.pid, 'SIGTERM');
  }, 250).unref();
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, function stopWatching() {
      clearInterval(watch);
      process.off(signal, stopWatching);
      // Nobody else listens: it does what it would have done without this.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    });
  }
}
