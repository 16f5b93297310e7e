import { createHmac, randomBytes } from 'node:crypto';
import { link, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { StoreError } from '../stores/errors.ts';
import type { RedisCommands } from '../stores/redis/types.ts';

/** What URLs of this server are signed with: LANDFALL_SIGNING_KEY, or a secret that is made once and kept. */
export interface SigningKey {
  /**
   * 32 bytes for one purpose, such as `media`: what is signed for one is never valid for another. The same in every
   * process that shares the secret, and after a restart.
   *
   * @throws StoreError store_unavailable while the kept secret cannot be read
   */
  forPurpose(purpose: string): Promise<Buffer>;
}

const SECRET_BYTES = 32;
const SECRET_GRAMMAR = /^[A-Za-z0-9_-]{43}$/;
const FILE_NAME = 'signing.key';

export function fixedSigningKey(secret: string): SigningKey {
  return keyFrom(async () => secret);
}

/**
 * For one process with a data directory: `<dataDir>/signing.key`, readable for its owner only. Written beside it and
 * linked to its name, so that it is there whole or not at all, and whoever comes second takes the first one's.
 */
export function fileSigningKey(dataDir: string): SigningKey {
  return keyFrom(async () => {
    const path = join(dataDir, FILE_NAME);
    try {
      return checked(await readIfExists(path)) ?? (await makeFile(path));
    } catch (cause) {
      if (cause instanceof StoreError) throw cause;
      throw new StoreError('store_unavailable', `the signing key in ${path} cannot be read`, { cause });
    }
  });
}

/** For all processes of one Redis: `<prefix>:signing-key`, by SET NX. A Redis that lost it ends all signed URLs. */
export function redisSigningKey(redis: RedisCommands, prefix: string): SigningKey {
  const name = `${prefix}:signing-key`;
  return keyFrom(async () => {
    const there = async () => {
      const value = await redis.send('GET', name);
      return typeof value === 'string' ? checked(value) : undefined;
    };
    const known = await there();
    if (known !== undefined) return known;
    await redis.send('SET', name, newSecret(), 'NX');
    const made = await there();
    if (made === undefined) throw new StoreError('store_unavailable', 'Redis did not keep the signing key');
    return made;
  });
}

/** Asked for when it is first needed, and again as long as that fails. */
function keyFrom(readSecret: () => Promise<string>): SigningKey {
  let secret: Promise<string> | undefined;
  return {
    async forPurpose(purpose) {
      secret ??= readSecret().catch((error: unknown) => {
        secret = undefined;
        throw error;
      });
      return createHmac('sha256', await secret)
        .update(`landfall ${purpose}`)
        .digest();
    },
  };
}

function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url');
}

/** @throws StoreError store_unavailable for a secret that is not one of ours: it may have been cut short */
function checked(text: string | undefined): string | undefined {
  const secret = text?.trim();
  if (secret !== undefined && !SECRET_GRAMMAR.test(secret)) {
    throw new StoreError('store_unavailable', 'the kept signing key is damaged: remove it', {
      retryable: false,
    });
  }
  return secret;
}

async function makeFile(path: string): Promise<string> {
  const newPath = `${path}.${randomBytes(6).toString('hex')}`;
  const secret = newSecret();
  const file = await open(newPath, 'wx', 0o600);
  try {
    await file.writeFile(`${secret}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(newPath, path);
    return secret;
  } catch (error) {
    const first = hasCode(error, 'EEXIST') ? checked(await readIfExists(path)) : undefined;
    if (first === undefined) throw error;
    return first;
  } finally {
    await rm(newPath, { force: true });
  }
}

async function readIfExists(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
