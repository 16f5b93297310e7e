import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { findJemalloc } from '../../processors/host/environment.ts';
import { SETTINGS } from '../../server/config/settings.ts';
import { loadConfig } from '../../server/config.ts';
import type { DockerInstruction } from '../support/parse-dockerfile.ts';
import { parseDockerfile } from '../support/parse-dockerfile.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const stages = parseDockerfile(readFileSync(join(root, 'Dockerfile'), 'utf8'));
const all = stages.flat();
const image = stages.at(-1) ?? [];

/** The build instructions of Docker's reference, without the deprecated MAINTAINER. */
const KNOWN_INSTRUCTIONS = new Set(
  'ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR'.split(
    ' ',
  ),
);

function only(name: string): DockerInstruction {
  const found = image.filter((instruction) => instruction.name === name);
  expect(found, name).toHaveLength(1);
  return found[0] as DockerInstruction;
}

/** The source paths of every COPY from the build context. */
function copiedFromContext(instructions: DockerInstruction[]): string[] {
  return instructions
    .filter(({ name, flags }) => name === 'COPY' && flags.from === undefined)
    .flatMap(({ rest }) => rest.split(/\s+/).slice(0, -1));
}

function environment(): Record<string, string> {
  const assignments = image.filter(({ name }) => name === 'ENV').flatMap(({ rest }) => rest.split(/\s+/));
  return Object.fromEntries(
    assignments.map((assignment) => {
      const [name = '', ...value] = assignment.split('=');
      return [name, value.join('=')];
    }),
  );
}

describe('the Dockerfile', () => {
  test('has only instructions that exist, and stages that exist', () => {
    const stageNames = stages.map(([from]) => / AS (\S+)$/i.exec(from?.rest ?? '')?.[1]);
    for (const { name, flags } of all) {
      expect(KNOWN_INSTRUCTIONS).toContain(name);
      if (flags.from !== undefined) {
        expect(stageNames).toContain(flags.from);
      }
    }
  });

  test('is built on the Node that the project pins for itself', () => {
    const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const major = devDependencies.node.split('.')[0];
    for (const [from] of stages) {
      expect(from?.rest).toMatch(new RegExp(`^node:${major}-slim( AS \\w+)?$`));
    }
    expect(stages.length).toBeGreaterThan(1);
  });

  test('installs exactly the locked production dependencies', () => {
    const [install] = all.filter(({ name, rest }) => name === 'RUN' && rest.includes('npm'));
    expect(install?.rest).toMatch(/^npm ci --omit=dev( |$)/);
    expect(copiedFromContext(stages[0] ?? [])).toEqual(['package.json', 'package-lock.json']);
  });

  test('copies what exists, and .dockerignore lets all of it and nothing else through', () => {
    const copied = new Set(copiedFromContext(all));
    for (const path of copied) {
      expect(existsSync(join(root, path)), path).toBe(true);
    }
    const lines = readFileSync(join(root, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(lines[0]).toBe('*');
    expect(new Set(lines.slice(1))).toEqual(new Set([...copied].map((path) => `!${path}`)));
  });

  test('copies every file that the server imports, and every package that it needs at run time', () => {
    const copied = copiedFromContext(image);
    const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const sources = copied.flatMap((path) => globSync(`${path}/**/*.ts`, { cwd: root }));
    expect(sources).toContain('server/main.ts');
    for (const source of sources) {
      const code = readFileSync(join(root, source), 'utf8');
      // `import type` is gone before Node looks for anything.
      const imports = code.matchAll(
        /^(?:import|export) (?!type\b)[^;]*?from '([^']+)';|^import '([^']+)';/gm,
      );
      for (const [, from, bare] of imports) {
        const specifier = from ?? bare ?? '';
        if (specifier.startsWith('.')) {
          const target = relative('.', normalize(join(dirname(source), specifier)));
          expect(
            copied.some((path) => target === path || target.startsWith(`${path}/`)),
            `${source}: ${specifier}`,
          ).toBe(true);
        } else if (!specifier.startsWith('node:')) {
          const name = specifier
            .split('/')
            .slice(0, specifier.startsWith('@') ? 2 : 1)
            .join('/');
          expect(Object.keys(dependencies), `${source}: ${specifier}`).toContain(name);
        }
      }
    }
  });

  test('has the command `landfall`, which runs there', () => {
    const link = image.find(({ name, rest }) => name === 'RUN' && rest.startsWith('ln -s'))?.rest ?? '';
    const [, target = '', path = ''] = /^ln -s (\S+) (\S+)$/.exec(link) ?? [];
    expect(path).toBe('/usr/local/bin/landfall');
    const app = only('WORKDIR').rest;
    const directory = mkdtempSync(join(tmpdir(), 'landfall-image-'));
    try {
      for (const name of copiedFromContext(image)) {
        cpSync(join(root, name), join(directory, name), { recursive: true });
      }
      symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
      const command = join(directory, basename(path));
      symlinkSync(join(directory, relative(app, target)), command);
      const env = { ...environment(), PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
      const { status, stdout, stderr } = spawnSync(command, ['config', '--changed'], {
        env,
        encoding: 'utf8',
      });
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(/LANDFALL_DATA_DIR +\/data +environment/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('sets only settings that exist, and together they are a configuration', () => {
    const known = new Set<string>(Object.values(SETTINGS).map((setting) => setting.env));
    const env = environment();
    for (const name of Object.keys(env).filter((name) => name !== 'NODE_ENV')) {
      expect(known).toContain(name);
    }
    expect(loadConfig({ env, cwd: '/nonexistent' })).toMatchObject({
      host: '0.0.0.0',
      port: 1080,
      dataDir: '/data',
      isAdminServed: false,
    });
    expect(env.NODE_ENV).toBe('production');
  });

  test('the operator API needs both settings that its comment names', () => {
    const env = environment();
    expect(() => loadConfig({ env: { ...env, LANDFALL_ADMIN: 'on' }, cwd: '/nonexistent' })).toThrow(
      'LANDFALL_ADMIN_TOKEN',
    );
    const withToken = { ...env, LANDFALL_ADMIN: 'on', LANDFALL_ADMIN_TOKEN: 'a-token-of-some-length' };
    expect(loadConfig({ env: withToken, cwd: '/nonexistent' }).isAdminServed).toBe(true);
  });

  test('has jemalloc where the processes that make previews look for it', () => {
    const install = image.find(({ name, rest }) => name === 'RUN' && rest.includes('apt-get install'))?.rest;
    expect(install).toMatch(/--no-install-recommends(?: [a-z0-9-]+)* libjemalloc2\b/);
    expect(install).toMatch(/rm -rf \/var\/lib\/apt\/lists\/\*$/);
    // Where Debian puts it.
    const machine = { x64: 'x86_64', arm64: 'aarch64' }[process.arch as string] ?? process.arch;
    expect(findJemalloc((path) => path.startsWith(`/usr/lib/${machine}-linux-gnu/`))).toBeDefined();
  });

  test('runs as a user of its own, who owns the volume', () => {
    const names = image.map(({ name }) => name);
    expect(only('USER').rest).toBe('node');
    expect(names.indexOf('USER')).toBeLessThan(names.indexOf('VOLUME'));
    expect(names.lastIndexOf('RUN')).toBeLessThan(names.indexOf('USER'));
    const { dataDir } = loadConfig({ env: environment(), cwd: '/nonexistent' });
    expect(only('VOLUME').rest).toBe(dataDir);
    expect(image.filter(({ name }) => name === 'RUN').map(({ rest }) => rest)).toContain(
      `mkdir ${dataDir} && chown node:node ${dataDir}`,
    );
    expect(only('EXPOSE').rest).toBe(environment().LANDFALL_PORT);
  });

  test('runs node itself, so that SIGTERM arrives', () => {
    expect(JSON.parse(only('CMD').rest)).toEqual(['node', 'server/main.ts']);
    expect(only('STOPSIGNAL').rest).toBe('SIGTERM');
    expect(image.some(({ name }) => name === 'ENTRYPOINT' || name === 'SHELL')).toBe(false);
  });
});

describe('the health check', () => {
  const command: string[] = JSON.parse(only('HEALTHCHECK').rest.replace(/^CMD\s+/, ''));

  async function exitCodeWith(port: number): Promise<number | null> {
    const child = spawn(process.execPath, command.slice(1), {
      env: { LANDFALL_PORT: String(port) },
      stdio: 'ignore',
    });
    const [code] = await once(child, 'exit');
    return code;
  }

  test.each([
    [200, 0],
    [503, 1],
  ])('with an answer of %d exits with %d', async (status, exitCode) => {
    const paths: (string | undefined)[] = [];
    const server = createServer((req, res) => {
      paths.push(req.url);
      res.writeHead(status).end();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      expect(command[0]).toBe('node');
      expect(await exitCodeWith((server.address() as AddressInfo).port)).toBe(exitCode);
      expect(paths).toEqual(['/health/live']);
    } finally {
      server.close();
    }
  });

  test('exits with 1 when nothing listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    expect(await exitCodeWith(port)).toBe(1);
  });
});

test('.ci/run is the README’s test command and can be executed', () => {
  const script = readFileSync(join(root, '.ci/run'), 'utf8');
  expect(script.trimEnd().split('\n').at(-1)).toBe('npm ci && npm test');
  expect(spawnSync('bash', ['-n', join(root, '.ci/run')]).status).toBe(0);
  expect(spawnSync('test', ['-x', join(root, '.ci/run')]).status).toBe(0);
});
