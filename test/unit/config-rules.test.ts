import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ConfigError, isLoopbackHost, loadConfig, RESERVED_SEGMENTS } from '../../server/config.ts';

const token = 'a-token-of-some-length';

function load(env: NodeJS.ProcessEnv) {
  return loadConfig({ env, cwd: '/nonexistent' });
}

function problemsOf(env: NodeJS.ProcessEnv) {
  try {
    load(env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).problems;
  }
  return [];
}

function namesOf(env: NodeJS.ProcessEnv) {
  return problemsOf(env).map((problem) => problem.name);
}

describe('binding elsewhere than to loopback', () => {
  test.each(['0.0.0.0', '::', '192.168.1.5', 'upload.example', '0', '::ffff:10.0.0.1', '127.0.0.1.example'])(
    '%s needs a token, or no operator API',
    (host) => {
      const [problem] = problemsOf({ LANDFALL_HOST: host });
      expect(problem?.name).toBe('LANDFALL_ADMIN_TOKEN');
      expect(problem?.value).toBe('(not set)');
      expect(problem?.expected).toContain(`refuses to bind to ${host}`);
      expect(problem?.expected).toContain('LANDFALL_ADMIN=off');
      expect(namesOf({ LANDFALL_HOST: host, LANDFALL_ADMIN: 'on' })).toEqual(['LANDFALL_ADMIN_TOKEN']);
      expect(load({ LANDFALL_HOST: host, LANDFALL_ADMIN_TOKEN: token }).adminToken).toBe(token);
      expect(load({ LANDFALL_HOST: host, LANDFALL_ADMIN: 'off' }).isAdminServed).toBe(false);
    },
  );

  test.each(['127.0.0.1', '127.8.8.8', '::1', '[::1]', 'localhost', '::ffff:127.0.0.1'])(
    '%s does not',
    (host) => {
      expect(problemsOf({ LANDFALL_HOST: host })).toEqual([]);
    },
  );

  test('a token has to be long, and made of what a header can carry', () => {
    for (const bad of [
      'short',
      'fifteen-letters',
      'sixteen letters!!',
      'größer-als-sechzehn',
      'x'.repeat(513),
    ]) {
      expect(namesOf({ LANDFALL_ADMIN_TOKEN: bad })).toEqual(['LANDFALL_ADMIN_TOKEN']);
    }
    expect(load({ LANDFALL_ADMIN_TOKEN: 'c2l4dGVlbi1sZXR0ZXJz==' }).adminToken).toBe(
      'c2l4dGVlbi1sZXR0ZXJz==',
    );
  });

  test('no address is both loopback and reachable from elsewhere', () => {
    fc.assert(fc.property(fc.ipV4(), (host) => isLoopbackHost(host) === host.startsWith('127.')));
  });
});

describe('cookies across origins', () => {
  test('need exact origins', () => {
    expect(namesOf({ LANDFALL_CORS_CREDENTIALS: 'on' })).toEqual(['LANDFALL_CORS_CREDENTIALS']);
    expect(namesOf({ LANDFALL_CORS_CREDENTIALS: 'on', LANDFALL_CORS_ORIGINS: '*' })).toHaveLength(1);
    expect(namesOf({ LANDFALL_CORS_CREDENTIALS: 'on', LANDFALL_CORS_ORIGINS: 'off' })).toHaveLength(1);
    expect(
      load({ LANDFALL_CORS_CREDENTIALS: 'on', LANDFALL_CORS_ORIGINS: 'https://app.example' }).corsCredentials,
    ).toBe(true);
  });
});

describe('several processes', () => {
  const s3 = { LANDFALL_STORE: 's3', LANDFALL_S3_BUCKET: 'uploads', LANDFALL_PROCESSES: '2' };

  test('are refused on the file store, Redis or not', () => {
    for (const extra of [{}, { LANDFALL_REDIS_URL: 'redis://cache' }]) {
      const [problem] = problemsOf({ LANDFALL_PROCESSES: '2', ...extra });
      expect(problem).toMatchObject({ name: 'LANDFALL_PROCESSES', value: '"2"' });
      expect(problem?.expected).toContain('1 with the file store');
    }
  });

  test('are refused on S3 without Redis, and accepted with it', () => {
    const [problem] = problemsOf(s3);
    expect(problem?.name).toBe('LANDFALL_PROCESSES');
    expect(problem?.expected).toContain('LANDFALL_REDIS_URL');
    expect(load({ ...s3, LANDFALL_REDIS_URL: 'redis://cache' }).processes).toBe(2);
  });

  test('are not judged by a Redis address that is itself wrong', () => {
    expect(namesOf({ ...s3, LANDFALL_REDIS_URL: 'http://cache' })).toEqual(['LANDFALL_REDIS_URL']);
  });
});

describe('the S3 store', () => {
  const s3 = { LANDFALL_STORE: 's3', LANDFALL_S3_BUCKET: 'uploads' };

  test('needs a bucket', () => {
    expect(namesOf({ LANDFALL_STORE: 's3' })).toEqual(['LANDFALL_S3_BUCKET']);
    expect(problemsOf({ LANDFALL_STORE: 's3' })[0]?.value).toBe('(not set)');
  });

  test('needs an endpoint for a provider that is not Amazon', () => {
    for (const provider of ['r2', 'wasabi', 'b2', 'spaces', 'gcs', 'ceph', 'seaweedfs', 'generic']) {
      const env = { ...s3, LANDFALL_S3_PROVIDER: provider };
      expect(namesOf(env)).toEqual(['LANDFALL_S3_ENDPOINT']);
      expect(load({ ...env, LANDFALL_S3_ENDPOINT: 'https://s3.example' }).s3?.provider).toBe(provider);
    }
    expect(load({ ...s3, LANDFALL_S3_PROVIDER: 'aws' }).s3?.provider).toBe('aws');
  });

  test('takes a KMS key only with KMS', () => {
    const env = { ...s3, LANDFALL_S3_SSE_KMS_KEY_ID: 'alias/uploads' };
    expect(namesOf(env)).toEqual(['LANDFALL_S3_SSE_KMS_KEY_ID']);
    expect(namesOf({ ...env, LANDFALL_S3_SSE: 'AES256' })).toEqual(['LANDFALL_S3_SSE_KMS_KEY_ID']);
    expect(load({ ...env, LANDFALL_S3_SSE: 'aws:kms' }).s3?.sseKmsKeyId).toBe('alias/uploads');
  });

  test('needs room for one part, in memory or in the spool', () => {
    const env = { ...s3, LANDFALL_S3_PART_SIZE: '256MiB', LANDFALL_SPOOL_BUDGET: '0' };
    const [problem] = problemsOf(env);
    expect(problem?.name).toBe('LANDFALL_S3_PART_SIZE');
    expect(problem?.expected).toContain('at most 96MiB');
    expect(load({ ...env, LANDFALL_BUFFER_BUDGET: '256MiB' }).s3?.partSizeBytes).toBe(268_435_456);
    expect(load({ ...env, LANDFALL_SPOOL_BUDGET: '256MiB' }).s3?.partSizeBytes).toBe(268_435_456);
  });
});

describe('the base path', () => {
  test('keeps out of the way of every other route', () => {
    for (const segment of RESERVED_SEGMENTS) {
      for (const path of [`/${segment}`, `/${segment}/`, `/${segment}/files`]) {
        const [problem] = problemsOf({ LANDFALL_BASE_PATH: path });
        expect(problem?.name).toBe('LANDFALL_BASE_PATH');
        expect(problem?.expected).toContain(`/${segment} belongs to another route`);
      }
      expect(load({ LANDFALL_BASE_PATH: `/files/${segment}` }).basePath).toBe(`/files/${segment}`);
      expect(load({ LANDFALL_BASE_PATH: `/${segment}-files` }).basePath).toBe(`/${segment}-files`);
    }
  });

  test('is refused, or clean: what the router and URL parsers leave as it is', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string({ maxLength: 4 }), fc.constantFrom('a', '..', '.', '', '%2e'))),
        (pieces) => {
          const text = `/${pieces.join('/')}`;
          if (problemsOf({ LANDFALL_BASE_PATH: text }).length === 0) {
            const { basePath } = load({ LANDFALL_BASE_PATH: text });
            expect(basePath).toMatch(/^(\/[A-Za-z0-9._~-]+)+$/);
            expect(new URL(basePath, 'http://x').pathname).toBe(basePath);
          }
        },
      ),
    );
  });
});
