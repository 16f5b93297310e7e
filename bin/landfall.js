#!/usr/bin/env node
// Runs the command line with a Node that can: this one, or the one that the package brings. Plain JavaScript without
// anything new in it, because an old Node has to understand it first.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
// Node does not run TypeScript below node_modules: an installed package has been built.
const built = join(root, 'dist/cli/main.js');
const entry =
  root.split(/[\\/]/).includes('node_modules') && existsSync(built) ? built : join(root, 'cli/main.ts');

if (isNewEnough(process.versions.node)) {
  process.argv[1] = entry;
  await import(entry);
} else {
  const node = ownNode();
  if (node === undefined) {
    process.stderr.write(`landfall needs Node 22.18 or newer; this is ${process.version}.\n`);
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
      if (signal !== null) process.kill(process.pid, signal);
      else process.exitCode = code ?? 1;
    });
  }
}

function isNewEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 18);
}

function ownNode() {
  try {
    const packageJson = createRequire(import.meta.url).resolve('node/package.json');
    const path = join(dirname(packageJson), 'bin/node');
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}
