/**
 * Runs first in `npm test`: makes sure that the programs the tests start are there. As root on Debian what is
 * missing is installed; anywhere else this ends with the names of the packages and the command that installs them.
 * Needs nothing but Node, and only looks at PATH when nothing is missing.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A Debian package, the programs of it that tests start, and what for. */
export interface RequiredPackage {
  name: string;
  programs: string[];
  purpose: string;
}

export const REQUIRED_PACKAGES: readonly RequiredPackage[] = [
  { name: 'redis-server', programs: ['redis-server'], purpose: 'locks and the catalog in Redis' },
  { name: 'ceph-mon', programs: ['ceph-mon'], purpose: 'a real S3 server' },
  { name: 'ceph-osd', programs: ['ceph-osd'], purpose: 'a real S3 server' },
  { name: 'radosgw', programs: ['radosgw'], purpose: 'a real S3 server' },
  {
    name: 'ceph-common',
    programs: ['ceph', 'ceph-authtool', 'radosgw-admin'],
    purpose: 'setting the S3 server up',
  },
  { name: 'curl', programs: ['curl'], purpose: 'uploads by a client that knows nothing of us' },
  { name: 'caddy', programs: ['caddy'], purpose: 'the example of a reverse proxy under docs/deploy' },
  {
    name: 'chromium-headless-shell',
    programs: ['chromium-headless-shell'],
    purpose: 'pages, and Uppy in them',
  },
  { name: 'nginx', programs: ['nginx'], purpose: 'the other example of a reverse proxy' },
  { name: 'ffmpeg', programs: ['ffmpeg', 'ffprobe'], purpose: 'previews of videos' },
  { name: 'ghostscript', programs: ['gs'], purpose: 'smaller PDFs' },
];

export interface ProvisionOptions {
  packages: readonly RequiredPackage[];
  /** Where programs are looked for, as in PATH. */
  searchPath: string;
  isRoot: boolean;
  /** Where Debian's package scripts look before they start a service. */
  policyFile: string;
  log: (line: string) => void;
}

/** The packages of which a program is not on the search path. */
export function missingPackages(packages: readonly RequiredPackage[], searchPath: string): RequiredPackage[] {
  return packages.filter(({ programs }) => !programs.every((program) => isOnPath(program, searchPath)));
}

/** Installs what is missing. Throws an Error that says what to do where that is not possible. */
export function provision(options: ProvisionOptions): void {
  const missing = missingPackages(options.packages, options.searchPath);
  if (missing.length === 0) {
    return;
  }
  if (!isOnPath('apt-get', options.searchPath)) {
    throw new Error(`${explain(missing)}\nInstall these Debian packages, or what your system calls them.`);
  }
  if (!options.isRoot) {
    throw new Error(
      `${explain(missing)}\nInstall them, or run the tests as root:\n  sudo ${installCommand(missing)}`,
    );
  }
  options.log(`Installing what the tests need: ${names(missing)}`);
  withoutServiceStarts(options.policyFile, () => {
    aptGet(options, ['update']);
    aptGet(options, ['install', '-y', '--no-install-recommends', ...missing.map(({ name }) => name)]);
  });
  const stillMissing = missingPackages(options.packages, options.searchPath);
  if (stillMissing.length > 0) {
    throw new Error(
      `${explain(stillMissing)}\nThe packages were installed and their programs are still not on PATH.`,
    );
  }
}

/**
 * Debian starts a service as soon as its package is installed. Tests start their own on private ports, and a
 * Redis on 6379 that nobody asked for may be in somebody's way. A policy that is already there is left alone.
 */
function withoutServiceStarts(policyFile: string, run: () => void): void {
  if (existsSync(policyFile)) {
    run();
    return;
  }
  // A handler, even an empty one, keeps Ctrl-C from ending us before the policy is removed again.
  const onSignal = () => {};
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    writeFileSync(policyFile, '#!/bin/sh\nexit 101\n', { mode: 0o755, flag: 'wx' });
    run();
  } finally {
    rmSync(policyFile, { force: true });
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

function aptGet(options: ProvisionOptions, command: string[]): void {
  // Another apt-get may be running (unattended upgrades): wait for it instead of failing.
  const { status, signal, error } = spawnSync(
    'apt-get',
    ['-q', '-o', 'DPkg::Lock::Timeout=300', ...command],
    {
      env: { ...process.env, PATH: options.searchPath, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
      // Its chatter is no output of the tests.
      stdio: ['ignore', 2, 2],
    },
  );
  if (status !== 0) {
    const outcome = error?.message ?? (signal === null ? `exit code ${status}` : `signal ${signal}`);
    throw new Error(`apt-get ${command.join(' ')} failed: ${outcome}`, { cause: error });
  }
}

function isOnPath(program: string, searchPath: string): boolean {
  return searchPath.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return directory !== '';
    } catch {
      return false;
    }
  });
}

function explain(missing: readonly RequiredPackage[]): string {
  const lines = missing.map(
    ({ name, programs, purpose }) => `  ${name} (${programs.join(', ')}): ${purpose}`,
  );
  return `The tests need programs that are not here:\n${lines.join('\n')}`;
}

function installCommand(missing: readonly RequiredPackage[]): string {
  return `apt-get install -y --no-install-recommends ${names(missing)}`;
}

function names(packages: readonly RequiredPackage[]): string {
  return packages.map(({ name }) => name).join(' ');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    provision({
      packages: REQUIRED_PACKAGES,
      searchPath: process.env.PATH ?? '',
      isRoot: process.getuid?.() === 0,
      policyFile: '/usr/sbin/policy-rc.d',
      log: (line) => process.stderr.write(`${line}\n`),
    });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
