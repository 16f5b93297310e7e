import { describe, expect, test } from 'vitest';
import { describeRedisTarget, parseRedisUrl } from '../../stores/redis/redis-url.ts';

describe('Redis URLs', () => {
  test.each([
    ['redis://localhost', 'redis://localhost:6379'],
    ['redis://:p%40ss@cache:6380/3', 'redis://cache:6380/3'],
    ['redis://user:p@ss:word@cache/', 'redis://cache:6379'],
    ['rediss://[::1]:7000?verify=off', 'rediss://[::1]:7000'],
    ['redis+sentinel://a,b:7,c/main', 'redis+sentinel://a:26379,b:7,c:26379/main'],
    ['rediss+sentinel://:secret@a/main/2?sentinelPassword=s', 'rediss+sentinel://a:26379/main/2'],
    ['redis+cluster://a:1,b:2', 'redis+cluster://a:1,b:2'],
    ['rediss+cluster://u:secret@a', 'rediss+cluster://a:6379'],
  ])('%s', (url, description) => {
    expect(describeRedisTarget(parseRedisUrl(url))).toBe(description);
  });

  test('users, passwords and certificates', () => {
    expect(parseRedisUrl('redis://:p%40ss@cache')).toMatchObject({ username: undefined, password: 'p@ss' });
    expect(parseRedisUrl('redis://user:p@ss:word@cache')).toMatchObject({
      username: 'user',
      password: 'p@ss:word',
    });
    const { tls, sentinelUsername, sentinelPassword } = parseRedisUrl(
      'rediss+sentinel://a/main?sentinelUsername=u&sentinelPassword=p%26q&ca=/etc/ca.pem&servername=redis',
    );
    expect({ sentinelUsername, sentinelPassword }).toEqual({
      sentinelUsername: 'u',
      sentinelPassword: 'p&q',
    });
    expect(tls).toEqual({
      ca: '/etc/ca.pem',
      cert: undefined,
      key: undefined,
      servername: 'redis',
      isVerified: true,
    });
  });

  test.each([
    ['', 'none of the forms'],
    ['http://cache', 'none of the forms'],
    ['redis://hunter2@cache', 'without a password'],
    ['redis://:hunter2@a,b', 'several hosts'],
    ['redis://:hunter2@', 'host:port'],
    ['redis://:hunter2@cache:0', 'host:port'],
    ['redis://:hunter2@cache:65536', 'host:port'],
    ['redis://:hunter2@cache/one', 'database number'],
    ['redis://:hunter2@cache/1/2', 'database number'],
    ['redis+cluster://:hunter2@cache/1', 'only database 0'],
    ['redis+sentinel://:hunter2@cache', 'name of the master'],
    ['redis://:hunter2@cache?ca=x', 'does not take the parameter "ca"'],
    ['rediss://:hunter2@cache?verify=maybe', 'verify is on or off'],
    ['redis://:hunter2%@cache', 'hex digits'],
  ])('%s is refused without repeating it', (url, reason) => {
    let message = '';
    try {
      parseRedisUrl(url);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
      message = String(error);
    }
    expect(message).toContain(reason);
    expect(message).not.toContain('hunter2');
  });
});
