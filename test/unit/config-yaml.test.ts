import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ConfigProblem } from '../../server/config/problems.ts';
import { SETTINGS } from '../../server/config/settings.ts';
import { readYaml } from '../../server/config/sources.ts';
import { CONFIG_EXIT_CODE, ConfigError, loadConfig } from '../../server/config.ts';

function read(yaml: string): { texts: Record<string, string>; problems: ConfigProblem[] } {
  const problems: ConfigProblem[] = [];
  const given = readYaml(yaml, 'landfall.yaml', problems);
  return { texts: Object.fromEntries([...given].map(([name, { text }]) => [name, text])), problems };
}

describe('landfall.yaml', () => {
  test('scalars keep the text that was written, as in the environment', () => {
    const { texts, problems } = read(
      'port: 0x10\nmaxSize: 1e3\nadmin: off\ncorsCredentials: true\nhost: "::1"\nexpiration: 24h # a day\n',
    );
    expect(problems).toEqual([]);
    expect(texts).toEqual({
      LANDFALL_PORT: '0x10',
      LANDFALL_MAX_SIZE: '1e3',
      LANDFALL_ADMIN: 'off',
      LANDFALL_CORS_CREDENTIALS: 'true',
      LANDFALL_HOST: '::1',
      LANDFALL_EXPIRATION: '24h',
    });
  });

  test('mappings nest, dotted keys do as well, and lists are lists', () => {
    const { texts, problems } = read(
      's3:\n  bucket: a\n  partSize: 8MiB\nredis.url: redis://x\ntrustedProxies: [loopback, 10.0.0.0/8]\ncorsOrigins:\n  - https://a.example\n',
    );
    expect(problems).toEqual([]);
    expect(texts).toEqual({
      LANDFALL_S3_BUCKET: 'a',
      LANDFALL_S3_PART_SIZE: '8MiB',
      LANDFALL_REDIS_URL: 'redis://x',
      LANDFALL_TRUSTED_PROXIES: 'loopback,10.0.0.0/8',
      LANDFALL_CORS_ORIGINS: 'https://a.example',
    });
  });

  test('an empty list is none, an empty value is not set, and an empty file is no configuration', () => {
    expect(read('corsOrigins: []\nport:\nhost: ""\n').texts).toEqual({ LANDFALL_CORS_ORIGINS: 'none' });
    for (const empty of ['', '\n', '# nothing\n', '---\n', '{}']) {
      expect(read(empty)).toEqual({ texts: {}, problems: [] });
    }
  });

  test.each([
    ['port: [1, 2]', 'port', 'not a list'],
    ['port:\n  a: 1', 'port', 'a whole number'],
    ['corsOrigins: [[a]]', 'corsOrigins', 'as a list or as one text'],
    ['s3: uploads', 's3', 'a mapping with bucket, previewBucket'],
    ['s3: {bucket: a}\ns3.bucket: b', 's3.bucket', 'each setting once'],
    ['storage:\n  dir: x', 'storage.dir', 'no such setting'],
    ['a: {b: {c: {d: 1}}}', 'a.b.c', 'no deeper nesting'],
    ['__proto__:\n  port: 1', '__proto__.port', 'no such setting'],
    ['constructor: 1', 'constructor', 'no such setting'],
  ])('%j is a problem with %s', (yaml, key, expected) => {
    const { problems } = read(yaml);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.name).toBe(`landfall.yaml: ${key}`);
    expect(problems[0]?.expected).toContain(expected);
  });

  test.each([
    ['- a\n- b', '(not shown)', 'a mapping of settings to values'],
    ['just a text', '(not shown)', 'a mapping of settings to values'],
    ['? {a: 1}\n: 2', '(not shown)', 'keys that are plain names'],
    ['port: 1\nport: 2', '(line 2)', 'valid YAML (duplicate key)'],
    ['host: a\nport: [1', '(line 2)', 'valid YAML'],
    ['port: *nothing', '(not shown)', 'aliases'],
    ['port: 1\n---\nport: 2', '(line 2)', 'valid YAML (multiple docs)'],
  ])('%j is a problem with the file', (yaml, value, expected) => {
    const { problems } = read(yaml);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({
      name: 'landfall.yaml',
      value,
      section: 'docs/configuration.md#landfallyaml',
    });
    expect(problems[0]?.expected).toContain(expected);
  });

  test('a file that refers to itself ends', () => {
    expect(read('a: &a\n  b: *a\n').problems.map((problem) => problem.expected)).toEqual([
      'no deeper nesting',
    ]);
  });
});

test('no junk makes loading throw anything but a ConfigError with problems', () => {
  const names = Object.values(SETTINGS).map((setting) => setting.env);
  const junk = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string(),
    fc.constantFrom(
      'none',
      'off',
      '*',
      '1',
      '8MiB',
      's3',
      'redis://a,b',
      'redis+sentinel://a',
      'https://a',
      '::1',
      '/a',
    ),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names, 'LANDFALL_X'), junk, { maxKeys: 8 }), (env) => {
      try {
        expect(Object.isFrozen(loadConfig({ env, cwd: '/nonexistent' }))).toBe(true);
      } catch (error) {
        expectConfigError(error);
      }
    }),
    { numRuns: 1000 },
  );
});

test('no junk makes reading YAML throw', () => {
  const keys = [
    ...Object.values(SETTINGS).map((setting) => setting.yaml),
    's3',
    'redis',
    '&a',
    '*a',
    '?',
    '- ',
  ];
  const line = fc
    .tuple(
      fc.constantFrom('', '  ', '\t'),
      fc.constantFrom(...keys),
      fc.constantFrom(': ', ':', ' ', ': !!binary ', ': &a '),
      fc.string(),
    )
    .map((pieces) => pieces.join(''));
  const yamls = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(line).map((lines) => lines.join('\n')),
  );
  fc.assert(
    fc.property(yamls, (yaml) => {
      const { texts, problems } = read(yaml);
      for (const text of Object.values(texts)) {
        expect(typeof text).toBe('string');
      }
      for (const problem of problems) {
        expect(problem.name.startsWith('landfall.yaml')).toBe(true);
      }
    }),
    { numRuns: 1000 },
  );
});

function expectConfigError(error: unknown): void {
  expect(error).toBeInstanceOf(ConfigError);
  const { problems, exitCode } = error as ConfigError;
  expect(problems.length).toBeGreaterThan(0);
  expect(exitCode).toBe(CONFIG_EXIT_CODE);
}
