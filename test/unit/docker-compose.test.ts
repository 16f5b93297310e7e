import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SETTINGS } from '../../server/config/settings.ts';
import { parseDuration } from '../../server/config/units.ts';
import { loadConfig } from '../../server/config.ts';
import { sizingCheck } from '../../server/doctor/sizing.ts';
import { parseCompose } from '../support/parse-compose.ts';
import { parseDockerfile } from '../support/parse-dockerfile.ts';

const root = join(import.meta.dirname, '../..');
const text = readFileSync(join(root, 'docker-compose.yml'), 'utf8');
const compose = parseCompose(text, { S3_SECRET_KEY: 'a-random-secret' });
const services = Object.entries(compose.services);
const service = (name: string) => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`there is no service ${name}`);
  return found;
};
const PROCESSES = ['landfall-1', 'landfall-2'];

/** What the image sets before compose does. */
function imageEnvironment(): Record<string, string> {
  const stages = parseDockerfile(readFileSync(join(root, 'Dockerfile'), 'utf8'));
  const assignments = (stages.at(-1) ?? [])
    .filter(({ name }) => name === 'ENV')
    .flatMap(({ rest }) => rest.split(/\s+/));
  return Object.fromEntries(
    assignments.map((assignment) => assignment.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );
}

function configOf(name: string) {
  const env = { ...imageEnvironment(), ...service(name).environment };
  return loadConfig({ env, cwd: '/nonexistent' });
}

describe('docker-compose.yml', () => {
  test('sets only settings that exist', () => {
    const known = new Set<string>(Object.values(SETTINGS).map((setting) => setting.env));
    for (const [name, { environment = {} }] of services) {
      const ours = Object.keys(environment).filter((variable) => variable.startsWith('LANDFALL_'));
      expect(
        ours.filter((variable) => !known.has(variable)),
        name,
      ).toEqual([]);
    }
    // A variable that somebody sets for compose must not look like a setting either, unless it is one.
    for (const [, variable = ''] of text.matchAll(/\$\{(LANDFALL_\w+)/g)) expect(known).toContain(variable);
  });

  test('refers to services, networks, volumes and files that exist', () => {
    for (const [name, { depends_on = {}, networks = [], volumes = [] }] of services) {
      expect(Object.keys(compose.services), name).toEqual(expect.arrayContaining(Object.keys(depends_on)));
      expect(networks.length, name).toBeGreaterThan(0);
      expect(Object.keys(compose.networks), name).toEqual(expect.arrayContaining(networks));
      for (const volume of volumes) {
        const [source = ''] = volume.split(':');
        if (source.startsWith('.')) expect(existsSync(join(root, source)), source).toBe(true);
        else expect(Object.keys(compose.volumes), source).toContain(source);
      }
      for (const [other, { condition }] of Object.entries(depends_on)) {
        if (condition === 'service_healthy') expect(service(other).healthcheck?.test, other).toBeDefined();
      }
    }
  });

  test('gives both processes the same configuration, which is a valid one', () => {
    const [first, second] = PROCESSES.map(configOf);
    expect(first).toEqual(second);
    expect(first).toMatchObject({
      store: 's3',
      host: '0.0.0.0',
      isAdminServed: false,
      trustedProxies: ['uniquelocal'],
      s3: { provider: 'seaweedfs', forcePathStyle: true },
    });
  });

  test('its sizes go together', async () => {
    const config = configOf('landfall-1');
    const findings = await sizingCheck(config, 768 * 1024 ** 2).run();
    expect(findings.map(({ level }) => level)).toEqual(['ok', 'ok']);
  });

  test('points everybody at the right host and port', () => {
    const { s3, redis, port } = configOf('landfall-1');
    expect(s3?.endpoint).toBe('http://s3:8333');
    expect(service('s3').command).toEqual(expect.arrayContaining(['-s3', '-s3.port=8333', '-filer']));
    expect(redis?.url).toBe('redis://redis:6379');
    expect(service('caddy').environment?.UPSTREAMS).toBe(
      PROCESSES.map((name) => `${name}:${port}`).join(' '),
    );
    expect(service('bucket').environment).toMatchObject({ S3_ENDPOINT: s3?.endpoint, S3_BUCKET: s3?.bucket });
    for (const name of [...PROCESSES, 'bucket', 's3']) {
      expect(service(name).environment, name).toMatchObject({
        AWS_ACCESS_KEY_ID: 'landfall',
        AWS_SECRET_ACCESS_KEY: 'a-random-secret',
      });
    }
    // Only the proxy is reached from outside.
    expect(services.filter(([, { ports }]) => ports !== undefined).map(([name]) => name)).toEqual(['caddy']);
    expect(service('caddy').ports).toContain('443:443/udp');
  });

  test('has no default for the secret', () => {
    expect(() => parseCompose(text, {})).toThrow('S3_SECRET_KEY');
    expect(text.match(/:\?/g)?.length).toBe(3);
  });

  test('gives everybody the time to end in peace', () => {
    const { shutdownGraceMs } = configOf('landfall-1');
    for (const name of PROCESSES) {
      expect(parseDuration(service(name).stop_grace_period ?? ''), name).toBeGreaterThan(shutdownGraceMs);
    }
    const caddyfile = readFileSync(join(root, 'docs/deploy/Caddyfile'), 'utf8');
    const grace = /\n\tgrace_period (\S+)\n/.exec(caddyfile)?.[1] ?? '';
    expect(parseDuration(service('caddy').stop_grace_period ?? '')).toBeGreaterThan(parseDuration(grace));
  });

  test('starts everything again, watches it, and waits for what it needs', () => {
    for (const [name, { restart, healthcheck }] of services) {
      if (name === 'bucket') {
        expect(restart).toMatch(/^on-failure/);
        expect(healthcheck).toEqual({ disable: true });
        continue;
      }
      expect(restart, name).toBe('unless-stopped');
      expect(healthcheck?.test?.[0], name).toBe('CMD');
    }
    for (const name of PROCESSES) {
      expect(service(name).depends_on).toEqual({
        bucket: { condition: 'service_completed_successfully' },
        redis: { condition: 'service_healthy' },
      });
    }
    expect(service('bucket').depends_on).toEqual({ s3: { condition: 'service_healthy' } });
  });

  test('keeps what has to survive, and lets Redis forget nothing', () => {
    for (const [name, path] of [
      ['caddy', '/data'],
      ['redis', '/data'],
      ['s3', '/data'],
    ] as const) {
      expect(service(name).volumes).toContain(`${name}:${path}`);
    }
    const command = service('redis').command ?? [];
    const option = (name: string) => command[command.indexOf(name) + 1];
    expect(option('--appendonly')).toBe('yes');
    expect(option('--maxmemory-policy')).toBe('noeviction');
    // An image of its own version each time: never "latest".
    for (const [name, { image, build }] of services) {
      if (build === undefined) expect(image, name).toMatch(/:\d+\.\d+/);
    }
  });
});

test('docs/deploy.md names only settings and files that exist', () => {
  const page = readFileSync(join(root, 'docs/deploy.md'), 'utf8');
  const known = new Set<string>(Object.values(SETTINGS).map((setting) => setting.env));
  // The command line's own.
  for (const name of ['LANDFALL_URL', 'LANDFALL_TOKEN']) known.add(name);
  for (const [name] of page.matchAll(/LANDFALL_\w+/g)) expect(known).toContain(name);
  for (const [, target = ''] of page.matchAll(/\]\(([^)]+)\)/g)) {
    const [file = '', anchor] = target.split('#');
    const path = file === '' ? 'docs/deploy.md' : join('docs', file);
    expect(existsSync(join(root, path)), target).toBe(true);
    if (anchor !== undefined) expect(readFileSync(join(root, path), 'utf8')).toContain(`<a id="${anchor}">`);
  }
});
