import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import type { Setting } from '../../server/config/setting.ts';
import { SECTIONS } from '../../server/config/setting.ts';
import { SETTINGS } from '../../server/config/settings.ts';
import type { ConfigProblem } from '../../server/config.ts';
import { CONFIG_EXIT_CODE, ConfigError, loadConfig } from '../../server/config.ts';

const emptyDir = mkdtempSync(join(tmpdir(), 'landfall-config-'));
const yamlDir = mkdtempSync(join(tmpdir(), 'landfall-config-'));
afterAll(() => {
  rmSync(emptyDir, { recursive: true });
  rmSync(yamlDir, { recursive: true });
});

function load(env: NodeJS.ProcessEnv = {}) {
  return loadConfig({ env, cwd: emptyDir });
}

function loadYaml(yaml: string, env: NodeJS.ProcessEnv = {}) {
  writeFileSync(join(yamlDir, 'landfall.yaml'), yaml);
  return loadConfig({ env, cwd: yamlDir });
}

function errorOf(run: () => unknown): ConfigError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  throw new Error('the configuration was accepted');
}

/** The one problem that a configuration has. */
function problemOf(run: () => unknown): ConfigProblem {
  const { problems } = errorOf(run);
  expect(problems).toHaveLength(1);
  return problems[0] as ConfigProblem;
}

/** What is said about the time after the last byte, unless somebody says otherwise. */
const LATER_DEFAULTS = {
  role: 'all',
  jobConcurrency: undefined,
  verifyWhen: 'finish',
  rejectedRetentionMs: 604_800_000,
  webhookUrl: undefined,
  webhookSecret: undefined,
  webhookEvents: ['ready', 'rejected', 'failed'],
  webhookAllowPrivate: false,
  tusdHooksUrl: undefined,
  tusdHooksEvents: [
    'pre-create',
    'post-create',
    'post-receive',
    'pre-finish',
    'post-finish',
    'pre-terminate',
    'post-terminate',
  ],
  tusdHooksTimeoutMs: 15_000,
  tusdHooksForwardHeaders: [],
  previews: true,
  previewPixels: 1800,
  thumbPixels: 320,
  previewQuality: 85,
  previewAvif: false,
  previewSvg: false,
  previewVideo: false,
  previewPages: 10,
  previewMaxInputBytes: 4_294_967_296,
  previewMaxPixels: 200_000_000,
  previewMaxFrames: 500,
  previewTimeoutMs: 120_000,
  previewMemoryBytes: 1_073_741_824,
  ffmpeg: 'ffmpeg',
  ffprobe: 'ffprobe',
  ghostscript: 'gs',
  mediaAccess: 'public',
  signingKey: undefined,
  mediaUrlExpiryMs: 3_600_000,
  mediaRedirect: 'off',
  mediaPublicUrl: undefined,
  accelRedirect: undefined,
  direct: true,
  directUrlExpiryMs: 3_600_000,
  web: true,
};

describe('defaults', () => {
  test('without any configuration', () => {
    expect(load()).toEqual({
      ...LATER_DEFAULTS,
      host: '127.0.0.1',
      port: 1080,
      basePath: '/files',
      publicUrl: undefined,
      trustedProxies: [],
      processes: 1,
      shutdownGraceMs: 10_000,
      logLevel: 'info',
      store: 'file',
      dataDir: join(emptyDir, 'data'),
      fsync: 'finish',
      bufferBudgetBytes: 100_663_296,
      spoolDir: join(emptyDir, 'data/spool'),
      spoolBudgetBytes: 10_737_418_240,
      maxSizeBytes: undefined,
      allowedTypes: undefined,
      requiredMetadata: undefined,
      maxOpenUploads: undefined,
      expirationMs: 86_400_000,
      verify: 'declared',
      lockTimeoutMs: 8000,
      idleTimeoutMs: 60_000,
      sweepIntervalMs: 300_000,
      isAdminServed: true,
      adminToken: undefined,
      corsOrigins: '*',
      corsCredentials: false,
      s3: undefined,
      redis: undefined,
    });
  });

  test('of an S3 bucket at Amazon', () => {
    const config = load({ LANDFALL_STORE: 's3', LANDFALL_S3_BUCKET: 'uploads', LANDFALL_REDIS_URL: 'none' });
    expect(config.redis).toBeUndefined();
    expect(config.s3).toEqual({
      bucket: 'uploads',
      previewBucket: 'uploads',
      prefix: '',
      endpoint: undefined,
      publicEndpoint: undefined,
      region: 'us-east-1',
      forcePathStyle: false,
      partSizeBytes: 8_388_608,
      partsInFlight: 4,
      provider: 'aws',
      sse: undefined,
      sseKmsKeyId: undefined,
      storageClass: undefined,
      acl: undefined,
    });
  });

  test('an endpoint changes the path style and the provider, unless they are given', () => {
    const env = {
      LANDFALL_STORE: 's3',
      LANDFALL_S3_BUCKET: 'uploads',
      LANDFALL_S3_ENDPOINT: 'http://127.0.0.1:9000/',
    };
    expect(load(env).s3).toMatchObject({
      endpoint: 'http://127.0.0.1:9000',
      forcePathStyle: true,
      provider: 'generic',
    });
    expect(
      load({ ...env, LANDFALL_S3_FORCE_PATH_STYLE: 'off', LANDFALL_S3_PROVIDER: 'ceph' }).s3,
    ).toMatchObject({ forcePathStyle: false, provider: 'ceph' });
  });

  test('every default is what its own parser reads, and is written in the canonical way', () => {
    const settings: Setting<unknown>[] = Object.values(SETTINGS);
    for (const setting of settings) {
      if (setting.default !== null) {
        setting.kind.parse(setting.default);
      } else {
        expect(setting.unset, setting.env).toBeTruthy();
      }
    }
  });

  test('the result is frozen all the way down', () => {
    const config = load({ LANDFALL_REDIS_URL: 'redis://cache', LANDFALL_TRUSTED_PROXIES: 'loopback' });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.trustedProxies)).toBe(true);
    expect(Object.isFrozen(config.redis)).toBe(true);
  });
});

test('the environment name follows from the yaml key, and no two settings share one', () => {
  const settings: Setting<unknown>[] = Object.values(SETTINGS);
  for (const setting of settings) {
    const derived = setting.yaml
      .replace(/[A-Z]/g, (capital) => `_${capital}`)
      .replaceAll('.', '_')
      .toUpperCase();
    expect(setting.env).toBe(`LANDFALL_${derived}`);
    expect(Object.keys(SECTIONS)).toContain(setting.section);
  }
  expect(new Set(settings.map((setting) => setting.env)).size).toBe(settings.length);
});

describe('a program of its own', () => {
  function run(program: string, env: NodeJS.ProcessEnv) {
    return spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      cwd: yamlDir,
      env,
      encoding: 'utf8',
    });
  }
  const configUrl = new URL('../../server/config.ts', import.meta.url).href;

  test('reads process.env and ./landfall.yaml when nothing is passed', () => {
    writeFileSync(join(yamlDir, 'landfall.yaml'), 'port: 7\nhost: 127.0.0.7\n');
    const program = `import { loadConfig } from '${configUrl}'; console.log(JSON.stringify(loadConfig()))`;
    const { stdout, stderr } = run(program, { LANDFALL_PORT: '8' });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ port: 8, host: '127.0.0.7', dataDir: join(yamlDir, 'data') });
  });

  test('the server prints every problem to stderr and exits with 78', () => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [fileURLToPath(new URL('../../server/main.ts', import.meta.url))],
      { cwd: emptyDir, env: { LANDFALL_PORT: 'x', LANDFALL_STORE: 'y' }, encoding: 'utf8' },
    );
    expect(status).toBe(78);
    expect(stdout).toBe('');
    expect(stderr).toContain('LANDFALL_PORT = "x"');
    expect(stderr).toContain('LANDFALL_STORE = "y"');
  });
});

describe('values', () => {
  test('every setting arrives', () => {
    const config = load({
      LANDFALL_HOST: '[::1]',
      LANDFALL_PORT: '0',
      LANDFALL_BASE_PATH: '/a/b~c/',
      LANDFALL_PUBLIC_URL: 'https://Upload.example:443/in/',
      LANDFALL_TRUSTED_PROXIES: '10.0.0.0/8, loopback,fd00::/8 , 10.0.0.0/8',
      LANDFALL_SHUTDOWN_GRACE: '0',
      LANDFALL_LOG_LEVEL: 'silent',
      LANDFALL_DATA_DIR: '/var/lib/landfall/../x',
      LANDFALL_FSYNC: 'patch',
      LANDFALL_BUFFER_BUDGET: '1GiB',
      LANDFALL_SPOOL_DIR: 'spool-here',
      LANDFALL_SPOOL_BUDGET: '0',
      LANDFALL_MAX_SIZE: '5TiB',
      LANDFALL_EXPIRATION: 'off',
      LANDFALL_VERIFY: 'always',
      LANDFALL_LOCK_TIMEOUT: '500ms',
      LANDFALL_IDLE_TIMEOUT: 'off',
      LANDFALL_SWEEP_INTERVAL: '1h',
      LANDFALL_ADMIN: 'off',
      LANDFALL_ADMIN_TOKEN: 'abcdefghijklmnop',
      LANDFALL_CORS_ORIGINS: 'https://App.example:443, http://localhost:5173,capacitor://localhost',
      LANDFALL_CORS_CREDENTIALS: 'true',
      LANDFALL_REDIS_URL: 'rediss://u:p%40ss@[::1]:7000/3',
      LANDFALL_REDIS_PREFIX: 'lf:1',
      LANDFALL_LOCK_TTL: '8s',
    });
    expect(config).toEqual({
      ...LATER_DEFAULTS,
      host: '::1',
      port: 0,
      basePath: '/a/b~c',
      publicUrl: 'https://upload.example/in',
      trustedProxies: ['10.0.0.0/8', 'loopback', 'fd00::/8'],
      processes: 1,
      shutdownGraceMs: 0,
      logLevel: 'silent',
      store: 'file',
      dataDir: '/var/lib/x',
      fsync: 'patch',
      bufferBudgetBytes: 1_073_741_824,
      spoolDir: join(emptyDir, 'spool-here'),
      spoolBudgetBytes: 0,
      maxSizeBytes: 5_497_558_138_880,
      expirationMs: undefined,
      verify: 'always',
      lockTimeoutMs: 500,
      idleTimeoutMs: 0,
      sweepIntervalMs: 3_600_000,
      isAdminServed: false,
      adminToken: 'abcdefghijklmnop',
      corsOrigins: ['https://app.example', 'http://localhost:5173', 'capacitor://localhost'],
      corsCredentials: true,
      s3: undefined,
      redis: {
        url: 'rediss://u:p%40ss@[::1]:7000/3',
        prefix: 'lf:1',
        lockTtlMs: 8000,
      },
    });
  });

  test('every setting for the time after the last byte arrives', () => {
    const env = {
      LANDFALL_STORE: 's3',
      LANDFALL_S3_BUCKET: 'uploads',
      LANDFALL_REDIS_URL: 'redis://cache',
      LANDFALL_ROLE: 'worker',
      LANDFALL_JOB_CONCURRENCY: '3',
      LANDFALL_VERIFY_WHEN: 'before-response',
      LANDFALL_REJECTED_RETENTION: '1h',
      LANDFALL_WEBHOOK_URL: 'https://app.example/hook',
      LANDFALL_WEBHOOK_SECRET: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
      LANDFALL_WEBHOOK_EVENTS: 'received, ready',
      LANDFALL_WEBHOOK_ALLOW_PRIVATE: 'on',
      LANDFALL_TUSD_HOOKS_URL: 'http://127.0.0.1:8081/hooks',
      LANDFALL_TUSD_HOOKS_EVENTS: 'pre-create',
      LANDFALL_TUSD_HOOKS_TIMEOUT: '1s',
      LANDFALL_TUSD_HOOKS_FORWARD_HEADERS: 'Authorization, x-user',
      LANDFALL_PREVIEWS: 'off',
      LANDFALL_PREVIEW_SIZE: '1000',
      LANDFALL_THUMB_SIZE: '100',
      LANDFALL_PREVIEW_QUALITY: '70',
      LANDFALL_PREVIEW_AVIF: 'on',
      LANDFALL_PREVIEW_SVG: 'on',
      LANDFALL_PREVIEW_VIDEO: 'on',
      LANDFALL_PREVIEW_PAGES: '2',
      LANDFALL_PREVIEW_MAX_INPUT: '1GiB',
      LANDFALL_PREVIEW_MAX_PIXELS: '1000000',
      LANDFALL_PREVIEW_MAX_FRAMES: '10',
      LANDFALL_PREVIEW_TIMEOUT: '30s',
      LANDFALL_PREVIEW_MEMORY: '512MiB',
      LANDFALL_FFMPEG: '/opt/ffmpeg',
      LANDFALL_FFPROBE: '/opt/ffprobe',
      LANDFALL_GHOSTSCRIPT: '/opt/gs',
      LANDFALL_MEDIA_ACCESS: 'signed',
      LANDFALL_SIGNING_KEY: 'k'.repeat(32),
      LANDFALL_MEDIA_URL_EXPIRY: '5m',
      LANDFALL_MEDIA_REDIRECT: 'presigned',
      LANDFALL_MEDIA_PUBLIC_URL: 'https://cdn.example',
      LANDFALL_DIRECT: 'off',
      LANDFALL_DIRECT_URL_EXPIRY: '10m',
      LANDFALL_WEB: 'off',
    };
    expect(load(env)).toMatchObject({
      role: 'worker',
      jobConcurrency: 3,
      verifyWhen: 'before-response',
      rejectedRetentionMs: 3_600_000,
      webhookUrl: 'https://app.example/hook',
      webhookSecret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
      webhookEvents: ['received', 'ready'],
      webhookAllowPrivate: true,
      tusdHooksUrl: 'http://127.0.0.1:8081/hooks',
      tusdHooksEvents: ['pre-create'],
      tusdHooksTimeoutMs: 1000,
      tusdHooksForwardHeaders: ['authorization', 'x-user'],
      previews: false,
      previewPixels: 1000,
      thumbPixels: 100,
      previewQuality: 70,
      previewAvif: true,
      previewSvg: true,
      previewVideo: true,
      previewPages: 2,
      previewMaxInputBytes: 1_073_741_824,
      previewMaxPixels: 1_000_000,
      previewMaxFrames: 10,
      previewTimeoutMs: 30_000,
      previewMemoryBytes: 536_870_912,
      ffmpeg: '/opt/ffmpeg',
      ffprobe: '/opt/ffprobe',
      ghostscript: '/opt/gs',
      mediaAccess: 'signed',
      signingKey: 'k'.repeat(32),
      mediaUrlExpiryMs: 300_000,
      mediaRedirect: 'presigned',
      mediaPublicUrl: 'https://cdn.example',
      direct: false,
      directUrlExpiryMs: 600_000,
      web: false,
    });
  });

  test('every S3 setting arrives', () => {
    const config = load({
      LANDFALL_STORE: 's3',
      LANDFALL_PROCESSES: '4',
      LANDFALL_REDIS_URL: 'redis://cache',
      LANDFALL_S3_BUCKET: 'uploads',
      LANDFALL_S3_PREVIEW_BUCKET: 'previews',
      LANDFALL_S3_PREFIX: 'team/a',
      LANDFALL_S3_REGION: 'eu-central-1',
      LANDFALL_S3_PUBLIC_ENDPOINT: 'https://s3.example/',
      LANDFALL_S3_PART_SIZE: '5MiB',
      LANDFALL_S3_PARTS_IN_FLIGHT: '64',
      LANDFALL_S3_SSE: 'aws:kms',
      LANDFALL_S3_SSE_KMS_KEY_ID: 'arn:aws:kms:eu-central-1:1:key/a-b',
      LANDFALL_S3_STORAGE_CLASS: 'STANDARD_IA',
      LANDFALL_S3_ACL: 'bucket-owner-full-control',
    });
    expect(config.processes).toBe(4);
    expect(config.s3).toEqual({
      bucket: 'uploads',
      previewBucket: 'previews',
      prefix: 'team/a/',
      endpoint: undefined,
      publicEndpoint: 'https://s3.example',
      region: 'eu-central-1',
      forcePathStyle: false,
      partSizeBytes: 5_242_880,
      partsInFlight: 64,
      provider: 'aws',
      sse: 'aws:kms',
      sseKmsKeyId: 'arn:aws:kms:eu-central-1:1:key/a-b',
      storageClass: 'STANDARD_IA',
      acl: 'bucket-owner-full-control',
    });
  });

  test.each([
    ['LANDFALL_HOST', ['http://x', '1.2.3.4:80', 'a b', '-x', '[localhost]']],
    ['LANDFALL_PORT', ['65536', '-1', '1.5', 'tcp://10.0.0.1:1080', '1e3', '0x10']],
    [
      'LANDFALL_BASE_PATH',
      [
        '/',
        '//',
        'files',
        '/a//b',
        '/a/../b',
        '/./a',
        '/a b',
        '/a?b',
        '/a%2fb',
        '/:id',
        '/*',
        '/media',
        '/s3/x',
        '/health/',
      ],
    ],
    [
      'LANDFALL_PUBLIC_URL',
      ['upload.example', 'ftp://x', 'https://x/?a', 'https://x/#a', 'https://u:p@x', 'https://'],
    ],
    [
      'LANDFALL_TRUSTED_PROXIES',
      ['proxy.example', '10.0.0.0/33', '0.0.0.0/0', '10.0.0.0/8/8', '10.0.0.0/', 'loopback,', '::1%lo'],
    ],
    ['LANDFALL_PROCESSES', ['0', '257']],
    ['LANDFALL_SHUTDOWN_GRACE', ['10', '2h', '-1s']],
    ['LANDFALL_LOG_LEVEL', ['verbose', 'INFO']],
    ['LANDFALL_STORE', ['s4', 'constructor']],
    ['LANDFALL_DATA_DIR', ['a\0b']],
    ['LANDFALL_FSYNC', ['always']],
    ['LANDFALL_BUFFER_BUDGET', ['1', '8M']],
    ['LANDFALL_SPOOL_BUDGET', ['none']],
    ['LANDFALL_MAX_SIZE', ['0', '-1', '10G', '1e20', 'unlimited']],
    ['LANDFALL_EXPIRATION', ['0', '24', 'never', '3651d']],
    ['LANDFALL_VERIFY', ['yes']],
    ['LANDFALL_LOCK_TIMEOUT', ['8', '0', '1h']],
    // A longer timer than 2^31-1 ms would fire at once.
    ['LANDFALL_IDLE_TIMEOUT', ['60', '25d']],
    ['LANDFALL_SWEEP_INTERVAL', ['0', '25d']],
    ['LANDFALL_ADMIN', ['maybe', '2']],
    [
      'LANDFALL_CORS_ORIGINS',
      [
        'app.example',
        'https://app.example/',
        'https://*.example',
        'https://a.example,*',
        ',',
        'https://x:99999',
      ],
    ],
    ['LANDFALL_CORS_CREDENTIALS', ['include']],
    ['LANDFALL_S3_PREFIX', ['/a', 'a//b', '../a', 'a b', 'a'.repeat(257)]],
    ['LANDFALL_S3_ENDPOINT', ['127.0.0.1:9000', 's3://x']],
    ['LANDFALL_S3_PUBLIC_ENDPOINT', ['s3.example', 'https://u:p@s3.example']],
    ['LANDFALL_S3_PART_SIZE', ['5242879', '6GiB']],
    ['LANDFALL_S3_PARTS_IN_FLIGHT', ['0', '65']],
    ['LANDFALL_S3_PROVIDER', ['minio']],
    ['LANDFALL_S3_SSE', ['aes256']],
    ['LANDFALL_S3_ACL', ['public']],
    ['LANDFALL_REDIS_PREFIX', ['{a}', 'a b', 'x'.repeat(65)]],
    ['LANDFALL_LOCK_TTL', ['9s', '999ms', '6']],
  ] as const)('%s refuses each of %j', (name, texts) => {
    for (const text of texts) {
      const problem = problemOf(() => load({ [name]: text }));
      expect(problem.name).toBe(name);
      expect(problem.value).toBe(
        JSON.stringify(text.replace('u:p@', '***@').slice(0, 80) + (text.length > 80 ? '…' : '')),
      );
      expect(problem.expected).not.toBe('');
      expect(problem.section).toMatch(/^docs\/configuration\.md#(server|storage|uploads|access|s3|redis)$/);
    }
  });

  test('an empty value counts as not set', () => {
    expect(load({ LANDFALL_PORT: '', LANDFALL_MAX_SIZE: '  ' })).toEqual(load());
  });
});

describe('precedence', () => {
  test('the environment wins over the file, the file over the default', () => {
    const config = loadYaml('port: 1\nhost: 127.0.0.2\n', { LANDFALL_PORT: '2' });
    expect([config.port, config.host, config.basePath]).toEqual([2, '127.0.0.2', '/files']);
  });

  test('an empty environment value does not hide the file, and `none` undoes it', () => {
    expect(loadYaml('maxSize: 1MiB', { LANDFALL_MAX_SIZE: '' }).maxSizeBytes).toBe(1_048_576);
    expect(loadYaml('maxSize: 1MiB', { LANDFALL_MAX_SIZE: 'none' }).maxSizeBytes).toBeUndefined();
  });

  test('LANDFALL_CONFIG names the file, relative to the working directory; `file` wins over it', () => {
    writeFileSync(join(yamlDir, 'landfall.yaml'), 'port: 1');
    writeFileSync(join(yamlDir, 'two.yaml'), 'port: 2\ndataDir: here');
    writeFileSync(join(yamlDir, 'three.yaml'), 'port: 3');
    const env = { LANDFALL_CONFIG: 'two.yaml' };
    expect(loadConfig({ env, cwd: yamlDir })).toMatchObject({ port: 2, dataDir: join(yamlDir, 'here') });
    expect(loadConfig({ env, cwd: yamlDir, file: join(yamlDir, 'three.yaml') }).port).toBe(3);
  });

  test('a named file must exist', () => {
    const problem = problemOf(() => load({ LANDFALL_CONFIG: 'missing.yaml' }));
    expect(problem.name).toBe('LANDFALL_CONFIG');
    expect(problem.expected).toContain('ENOENT');
  });
});

describe('a ConfigError', () => {
  test('has every problem at once, readable in a terminal, and exit code 78', () => {
    const error = errorOf(() =>
      loadYaml('maxSize: 8M\ns3:\n  bukket: x\n', {
        LANDFALL_PORT: '99999',
        LANDFALL_EXPIRATION: 'soon',
        LANDFALL_PROT: '1',
        LANDFALL_HOST: '0.0.0.0',
        LANDFALL_PROCESSES: '2',
      }),
    );
    expect(error.problems.map((problem) => problem.name).sort()).toEqual([
      'LANDFALL_ADMIN_TOKEN',
      'LANDFALL_EXPIRATION',
      'LANDFALL_PORT',
      'LANDFALL_PROCESSES',
      'LANDFALL_PROT',
      'landfall.yaml: maxSize',
      'landfall.yaml: s3.bukket',
    ]);
    expect(error.exitCode).toBe(78);
    expect(CONFIG_EXIT_CODE).toBe(78);
    expect(error.message).toContain('The configuration has 7 problems:');
    expect(error.message).toContain(
      '  LANDFALL_PORT = "99999"\n    expected: a whole number from 0 to 65535\n    see:      docs/configuration.md#server',
    );
    for (const problem of error.problems) {
      expect(error.message).toContain(problem.name);
      expect(error.message).toContain(problem.expected);
    }
  });

  test('never shows a secret, under whatever name it was given', () => {
    const secret = 'hunter2 hunter2 hunter2';
    const error = errorOf(() =>
      loadYaml(`adminTokn: ${secret}\nredis:\n  url: ${secret}\n  pasword: ${secret}\n`, {
        LANDFALL_ADMIN_TOKEN: secret,
        LANDFALL_ADMIN_TOKE: secret,
        LANDFALL_PUBLIC_URL: 'https://me:hunter2@hunter2@upload.example',
        LANDFALL_S3_ENDPOINT: 'http://me:hunter2@127.0.0.1',
      }),
    );
    expect(error.problems).toHaveLength(7);
    expect(error.message).not.toContain('hunter2');
    expect(JSON.stringify(error.problems)).not.toContain('hunter2');
    expect(error.message).toContain('LANDFALL_ADMIN_TOKEN = (a secret of 23 characters)');
    expect(errorOf(() => loadYaml(`adminToken: "${secret}\nport: [`)).message).not.toContain('hunter2');
    expect(errorOf(() => loadYaml(`adminToken: *hunter2\n`)).message).not.toContain('hunter2');
  });

  test('shows control characters escaped and long values cut', () => {
    const error = errorOf(() => load({ LANDFALL_LOG_LEVEL: `\x1b[31m${'x'.repeat(5000)}` }));
    expect(error.message).toContain('"\\u001b[31mxxx');
    expect(error.message.length).toBeLessThan(500);
  });
});

describe('unknown names', () => {
  test.each([
    ['LANDFALL_PROT', 'did you mean LANDFALL_PORT?'],
    ['LANDFALL_MAXSIZE', 'did you mean LANDFALL_MAX_SIZE?'],
    ['LANDFALL_S3_BUCKT', 'did you mean LANDFALL_S3_BUCKET?'],
    ['LANDFALL_CONFG', 'did you mean LANDFALL_CONFIG?'],
    ['LANDFALL_SERVICE_HOST', 'enableServiceLinks: false'],
    ['LANDFALL_PORT_1080_TCP_ADDR', 'enableServiceLinks: false'],
  ])('%s: %s', (name, hint) => {
    const problem = problemOf(() => load({ [name]: '1' }));
    expect(problem).toMatchObject({ name, value: '(not shown)' });
    expect(problem.expected).toContain('no such setting');
    expect(problem.expected).toContain(hint);
  });

  test('nothing is suggested where nothing is near, and other variables are left alone', () => {
    expect(problemOf(() => load({ LANDFALL_ZZZZZZZZZZZZ: '1' })).expected).toBe('no such setting');
    expect(load({ PATH: '/bin', HOME: '/', LANDFALL: 'x', XLANDFALL_PORT: '1' })).toEqual(load());
  });

  test.each([
    ['max_size', 'maxSize'],
    ['max-size', 'maxSize'],
    ['LANDFALL_PORT', 'port'],
    ['s3Bucket', 's3.bucket'],
    ['lockTTL', 'lockTtl'],
  ])('%s in landfall.yaml: did you mean %s?', (key, meant) => {
    expect(problemOf(() => loadYaml(`${key}: 1`)).expected).toBe(`no such setting; did you mean ${meant}?`);
  });
});
