import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileSigningKey, fixedSigningKey, redisSigningKey } from '../../server/signing-key.ts';
import { isStoreError, StoreError } from '../../stores/errors.ts';
import type { RedisCommands } from '../../stores/redis/types.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-key-'));
});
afterEach(() => rm(directory, { recursive: true }));

const SECRET = 'x'.repeat(32);

describe('a configured key', () => {
  it('is the same everywhere, and another for every purpose', async () => {
    const [media, again, other] = await Promise.all([
      fixedSigningKey(SECRET).forPurpose('media'),
      fixedSigningKey(SECRET).forPurpose('media'),
      fixedSigningKey(SECRET).forPurpose('direct'),
    ]);
    expect(media).toHaveLength(32);
    expect(again.equals(media)).toBe(true);
    expect(other.equals(media)).toBe(false);
    expect((await fixedSigningKey('y'.repeat(32)).forPurpose('media')).equals(media)).toBe(false);
  });
});

describe('a key in the data directory', () => {
  it('is made once, for its owner only, and is there after a restart', async () => {
    const first = await fileSigningKey(directory).forPurpose('media');
    const second = await fileSigningKey(directory).forPurpose('media');
    expect(second.equals(first)).toBe(true);
    expect(await readdir(directory)).toEqual(['signing.key']);
    expect((await stat(join(directory, 'signing.key'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(directory, 'signing.key'), 'utf8')).toMatch(/^[A-Za-z0-9_-]{43}\n$/);
  });

  it('is one, however many ask for it first', async () => {
    const keys = await Promise.all(
      Array.from({ length: 20 }, () => fileSigningKey(directory).forPurpose('media')),
    );
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(1);
    expect(await readdir(directory)).toEqual(['signing.key']);
  });

  it('is refused when it is damaged, and taken once it is repaired', async () => {
    const path = join(directory, 'signing.key');
    const key = fileSigningKey(directory);
    await writeFile(path, 'short');
    await expect(key.forPurpose('media')).rejects.toSatisfy((error) =>
      isStoreError(error, 'store_unavailable'),
    );
    await rm(path);
    expect(await key.forPurpose('media')).toHaveLength(32);
  });
});

describe('a key in Redis', () => {
  const values = new Map<string, string>();
  let isDown = false;
  const redis: RedisCommands = {
    isCluster: false,
    async send(command, ...[name, value]) {
      if (isDown) throw new StoreError('store_unavailable', 'down');
      if (command === 'SET' && !values.has(String(name))) values.set(String(name), String(value));
      return command === 'GET' ? (values.get(String(name)) ?? null) : 'OK';
    },
    run: () => Promise.reject(new Error('no script is run')),
  };

  it('is shared by everybody, and asked for again after a failure', async () => {
    isDown = true;
    const key = redisSigningKey(redis, 'test');
    await expect(key.forPurpose('media')).rejects.toSatisfy((error) =>
      isStoreError(error, 'store_unavailable'),
    );
    isDown = false;
    const [one, two] = await Promise.all([
      key.forPurpose('media'),
      redisSigningKey(redis, 'test').forPurpose('media'),
    ]);
    expect(one.equals(two)).toBe(true);
    expect([...values.keys()]).toEqual(['test:signing-key']);
  });
});
