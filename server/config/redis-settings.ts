import { parseRedisUrl, REDIS_URL_FORMS } from '../../stores/redis/redis-url.ts';
import type { Kind } from './kinds.ts';
import { duration, text } from './kinds.ts';
import type { Setting } from './setting.ts';
import { optional, setting } from './setting.ts';

/** Checked here, taken apart again by whoever connects: the text is what tests and tools pass around. */
const redisUrlKind: Kind<string> = {
  form: REDIS_URL_FORMS.join('; '),
  parse(url) {
    parseRedisUrl(url);
    return url.trim();
  },
};

/** What processes that share a Redis are told. */
export const REDIS_SETTINGS = {
  redisUrl: optional({
    env: 'LANDFALL_REDIS_URL',
    yaml: 'redis.url',
    section: 'redis',
    kind: redisUrlKind,
    unset: 'none',
    description: 'The Redis that processes share for locks, the catalog and the cache of part lists.',
    isSecret: true,
  }),
  redisPrefix: setting({
    env: 'LANDFALL_REDIS_PREFIX',
    yaml: 'redis.prefix',
    section: 'redis',
    // No braces: they would decide which hash slot of a Cluster a key belongs to.
    kind: text('1 to 64 letters, digits and . _ : -', /^[A-Za-z0-9._:-]{1,64}$/),
    default: 'landfall',
    description: 'What every key and channel in Redis starts with.',
  }),
  lockTtlMs: setting({
    env: 'LANDFALL_LOCK_TTL',
    yaml: 'lockTtl',
    section: 'redis',
    // tus-js-client gives up after 9 s of retries: a lock left behind by a dead process must be free before that.
    kind: duration(1000, 8000),
    default: '6s',
    description:
      "How long a dead process's lock in Redis lives on. Clients retry for 9 s, so it has to be shorter.",
  }),
} satisfies Record<string, Setting<unknown>>;
