import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ProvisionOptions } from '../support/provision.ts';
import { missingPackages, provision, REQUIRED_PACKAGES } from '../support/provision.ts';

const PACKAGES = [
  { name: 'one-package', programs: ['one'], purpose: 'the first thing' },
  { name: 'two-package', programs: ['two', 'two-admin'], purpose: 'the second thing' },
];

let dir: string;
let bin: string;
let logged: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'landfall-provision-'));
  bin = join(dir, 'bin');
  mkdirSync(bin);
  logged = [];
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

function addProgram(name: string, script = ''): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

/** An apt-get that writes down how it was called and "installs" the given programs. */
function addAptGet(installs: string[], exitCode = 0): void {
  const installing = installs
    .map((name) => `printf '#!/bin/sh\\n' > ${bin}/${name}; /bin/chmod 755 ${bin}/${name}`)
    .join('\n');
  addProgram(
    'apt-get',
    `echo "$* frontend=$DEBIAN_FRONTEND policy=$(${join(dir, 'policy')} 2>/dev/null; echo $?)" >> ${dir}/calls
case "$*" in *install*) ${installing || ':'}
exit ${exitCode};; esac`,
  );
}

function aptCalls(): string[] {
  return existsSync(join(dir, 'calls')) ? readFileSync(join(dir, 'calls'), 'utf8').trim().split('\n') : [];
}

function options(changes: Partial<ProvisionOptions> = {}): ProvisionOptions {
  return {
    packages: PACKAGES,
    searchPath: bin,
    isRoot: true,
    policyFile: join(dir, 'policy'),
    log: (line) => logged.push(line),
    ...changes,
  };
}

describe('provision', () => {
  test('does nothing when everything is there', () => {
    for (const program of ['one', 'two', 'two-admin']) addProgram(program);
    addAptGet([]);
    provision(options());
    expect(aptCalls()).toEqual([]);
    expect(logged).toEqual([]);
  });

  test('a package counts as missing when one of its programs is missing or cannot be run', () => {
    addProgram('one');
    addProgram('two');
    expect(missingPackages(PACKAGES, bin).map(({ name }) => name)).toEqual(['two-package']);
    chmodSync(join(bin, 'one'), 0o644);
    expect(missingPackages(PACKAGES, bin)).toHaveLength(2);
  });

  test('as root on Debian installs exactly what is missing, and keeps services from starting meanwhile', () => {
    addProgram('one');
    addAptGet(['two', 'two-admin']);
    provision(options());
    const settings = '-q -o DPkg::Lock::Timeout=300';
    expect(aptCalls()).toEqual([
      `${settings} update frontend=noninteractive policy=101`,
      `${settings} install -y --no-install-recommends two-package frontend=noninteractive policy=101`,
    ]);
    expect(existsSync(join(dir, 'policy'))).toBe(false);
    expect(logged).toEqual(['Installing what the tests need: two-package']);
  });

  test("leaves a machine's own service policy as it is", () => {
    writeFileSync(join(dir, 'policy'), '#!/bin/sh\nexit 104\n', { mode: 0o755 });
    addAptGet(['one', 'two', 'two-admin']);
    provision(options());
    expect(aptCalls()).toHaveLength(2);
    expect(aptCalls()[1]).toContain('policy=104');
    expect(readFileSync(join(dir, 'policy'), 'utf8')).toBe('#!/bin/sh\nexit 104\n');
  });

  test('a failing apt-get is an error, and the service policy is removed', () => {
    addAptGet([], 100);
    expect(() => provision(options())).toThrow('one-package two-package failed: exit code 100');
    expect(existsSync(join(dir, 'policy'))).toBe(false);
  });

  test('an installation that brought no program is an error', () => {
    addAptGet(['one']);
    expect(() => provision(options())).toThrow('still not on PATH');
  });

  test('without root it names the packages and the command', () => {
    addAptGet([]);
    expect(() => provision(options({ isRoot: false }))).toThrow(
      'sudo apt-get install -y --no-install-recommends one-package two-package',
    );
    expect(aptCalls()).toEqual([]);
  });

  test('where there is no apt-get it names the packages and what they are for', () => {
    expect(() => provision(options())).toThrow('two-package (two, two-admin): the second thing');
  });
});

describe('the program', () => {
  const program = fileURLToPath(new URL('../support/provision.ts', import.meta.url));

  test('ends with an error when something is missing and cannot be installed', () => {
    const { status, stderr, stdout } = spawnSync(process.execPath, [program], {
      env: { PATH: bin },
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stdout).toBe('');
    for (const { name } of REQUIRED_PACKAGES) {
      expect(stderr).toContain(name);
    }
  });

  test('is silent when everything is there', () => {
    for (const program of REQUIRED_PACKAGES.flatMap(({ programs }) => programs)) addProgram(program);
    const { status, stderr, stdout } = spawnSync(process.execPath, [program], {
      env: { PATH: bin },
      encoding: 'utf8',
    });
    expect({ status, stderr, stdout }).toEqual({ status: 0, stderr: '', stdout: '' });
  });
});
