import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { redisUrlKind } from '../../server/config/redis-url.ts';

const nobody = {
  masterName: undefined,
  username: undefined,
  password: undefined,
  sentinelUsername: undefined,
  sentinelPassword: undefined,
};

describe('LANDFALL_REDIS_URL', () => {
  test('one server', () => {
    expect(redisUrlKind.parse('redis://cache')).toEqual({
      ...nobody,
      mode: 'single',
      isTls: false,
      nodes: [{ host: 'cache', port: 6379 }],
      database: 0,
    });
    expect(redisUrlKind.parse('rediss://:se%2Fcret@10.0.0.1:7000/2')).toEqual({
      ...nobody,
      mode: 'single',
      isTls: true,
      nodes: [{ host: '10.0.0.1', port: 7000 }],
      password: 'se/cret',
      database: 2,
    });
  });

  test('Sentinel', () => {
    expect(
      redisUrlKind.parse(
        'redis+sentinel://me:pw@s1:26380,[::1],s3/main/1?sentinelUsername=w&sentinelPassword=a%26b',
      ),
    ).toEqual({
      mode: 'sentinel',
      isTls: false,
      nodes: [
        { host: 's1', port: 26_380 },
        { host: '::1', port: 26_379 },
        { host: 's3', port: 26_379 },
      ],
      masterName: 'main',
      username: 'me',
      password: 'pw',
      sentinelUsername: 'w',
      sentinelPassword: 'a&b',
      database: 1,
    });
    expect(redisUrlKind.parse('rediss+sentinel://s1/main')).toMatchObject({ isTls: true, database: 0 });
  });

  test('Cluster', () => {
    expect(redisUrlKind.parse('redis+cluster://me@n1:7000,n2:7001')).toEqual({
      ...nobody,
      mode: 'cluster',
      isTls: false,
      nodes: [
        { host: 'n1', port: 7000 },
        { host: 'n2', port: 7001 },
      ],
      username: 'me',
      database: 0,
    });
    expect(redisUrlKind.parse('rediss+cluster://n1').isTls).toBe(true);
  });

  test.each([
    ['redis://', ''],
    ['cache:6379', ''],
    ['http://cache', ''],
    ['redis+tls://cache', ''],
    ['redis://a,b', 'several nodes'],
    ['redis://a:0', 'host:port'],
    ['redis://a:65536', 'host:port'],
    ['redis://a:b', 'host:port'],
    ['redis+cluster://a,', 'host:port'],
    ['redis://-a', 'neither a host name nor an address'],
    ['redis://cache/x', 'database number'],
    ['redis://cache/1/2', 'database number'],
    ['redis://cache/1024', 'database number'],
    ['redis+cluster://a/1', 'only database 0'],
    ['redis+sentinel://a', "master's name"],
    ['redis+sentinel://a/', "master's name"],
    ['redis://cache?family=6', 'parameters'],
    ['redis://cache?sentinelPassword=x', 'parameters'],
    ['redis://u:%zz@cache', 'percent-encoding'],
  ])('%s is refused: %s', (text, reason) => {
    expect(() => redisUrlKind.parse(text)).toThrow(RangeError);
    expect(() => redisUrlKind.parse(text)).toThrow(reason);
  });

  test('any login survives percent-encoding', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', minLength: 1 }),
        fc.string({ unit: 'grapheme', minLength: 1 }),
        (username, password) => {
          const url = `redis://${encodeURIComponent(username)}:${encodeURIComponent(password)}@cache`;
          expect(redisUrlKind.parse(url)).toMatchObject({ username, password });
        },
      ),
    );
  });

  test('reasons never repeat a password', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('redis', 'redis+sentinel', 'x'),
        fc.constantFrom('/x', ':0', ',', '?a', '#', ''),
        (scheme, tail) => {
          try {
            redisUrlKind.parse(`${scheme}://me:hunter2@cache${tail}`);
          } catch (error) {
            expect((error as Error).message).not.toContain('hunter2');
          }
        },
      ),
    );
  });
});
