import { parseMediaRange } from '../policy/media-ranges.ts';
import { basePathKind, corsOriginsKind, hostKind, httpUrlKind, trustedProxiesKind } from './addresses.ts';
import { EVENT_SETTINGS } from './event-settings.ts';
import { directory, duration, integer, listOf, oneOf, onOff, orWord, size, text } from './kinds.ts';
import { MEDIA_SETTINGS } from './media-settings.ts';
import { PREVIEW_SETTINGS } from './preview-settings.ts';
import { REDIS_SETTINGS } from './redis-settings.ts';
import { S3_SETTINGS } from './s3-settings.ts';
import type { Setting } from './setting.ts';
import { optional, setting } from './setting.ts';

const SECOND = 1000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MIB = 1024 ** 2;

/**
 * Every setting there is. The keys are the names that code uses; the yaml key in capitals, with `_` for every
 * hump and dot, is the environment name.
 */
export const SETTINGS = {
  host: setting({
    env: 'LANDFALL_HOST',
    yaml: 'host',
    section: 'server',
    kind: hostKind,
    default: '127.0.0.1',
    description:
      'The address to listen on. Anything but loopback needs `LANDFALL_ADMIN_TOKEN`, or `LANDFALL_ADMIN=off`.',
  }),
  port: setting({
    env: 'LANDFALL_PORT',
    yaml: 'port',
    section: 'server',
    kind: integer(0, 65_535),
    default: '1080',
    description: 'The TCP port to listen on; `0` takes a free one and prints it.',
  }),
  basePath: setting({
    env: 'LANDFALL_BASE_PATH',
    yaml: 'basePath',
    section: 'server',
    kind: basePathKind,
    default: '/files',
    description: 'The path under which uploads are created and found.',
  }),
  publicUrl: optional({
    env: 'LANDFALL_PUBLIC_URL',
    yaml: 'publicUrl',
    section: 'server',
    kind: httpUrlKind(
      'an http or https URL such as https://upload.example, with a path in front of ours if there is one',
    ),
    unset: 'none: `Location` is relative',
    description:
      'What clients see in front of the base path. Without it `Location` headers are relative, which any proxy keeps right.',
  }),
  trustedProxies: setting({
    env: 'LANDFALL_TRUSTED_PROXIES',
    yaml: 'trustedProxies',
    section: 'server',
    kind: trustedProxiesKind,
    default: 'none',
    description: 'Proxies whose `X-Forwarded-*` headers are believed.',
  }),
  processes: setting({
    env: 'LANDFALL_PROCESSES',
    yaml: 'processes',
    section: 'server',
    kind: integer(1, 256),
    default: '1',
    description: 'Server processes on this machine; more than one needs the S3 store and Redis.',
  }),
  shutdownGraceMs: setting({
    env: 'LANDFALL_SHUTDOWN_GRACE',
    yaml: 'shutdownGrace',
    section: 'server',
    kind: duration(0, HOUR),
    default: '10s',
    description: 'After SIGTERM, how long running requests may take to store what they received.',
  }),
  logLevel: setting({
    env: 'LANDFALL_LOG_LEVEL',
    yaml: 'logLevel',
    section: 'server',
    kind: oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    description: 'The least important log lines that are still written.',
  }),

  store: setting({
    env: 'LANDFALL_STORE',
    yaml: 'store',
    section: 'storage',
    kind: oneOf('file', 's3'),
    default: 'file',
    description: 'What keeps the bytes: a directory, or an S3 bucket.',
  }),
  dataDir: setting({
    env: 'LANDFALL_DATA_DIR',
    yaml: 'dataDir',
    section: 'storage',
    kind: directory(),
    default: './data',
    description: 'Uploads of the file store, the catalog, and anything else that must survive a restart.',
  }),
  fsync: setting({
    env: 'LANDFALL_FSYNC',
    yaml: 'fsync',
    section: 'storage',
    kind: oneOf('patch', 'finish', 'off'),
    default: 'finish',
    description:
      'When the file store forces bytes to the disk: before each request is answered, before an upload is announced as finished, or when the system likes. Only a power cut tells them apart; a killed process never loses a byte.',
  }),
  bufferBudgetBytes: setting({
    env: 'LANDFALL_BUFFER_BUDGET',
    yaml: 'bufferBudget',
    section: 'storage',
    kind: size(MIB),
    default: '96MiB',
    description: 'Memory of one process for bytes on their way to the store; beyond it, clients wait.',
  }),
  spoolDir: optional({
    env: 'LANDFALL_SPOOL_DIR',
    yaml: 'spoolDir',
    section: 'storage',
    kind: directory(),
    unset: '`spool` in the data directory',
    description:
      'Where bytes wait that have to be complete before they are stored and do not fit into memory.',
  }),
  spoolBudgetBytes: setting({
    env: 'LANDFALL_SPOOL_BUDGET',
    yaml: 'spoolBudget',
    section: 'storage',
    kind: size(0),
    default: '10GiB',
    description:
      'Disk space for bytes that wait: S3 parts that do not fit into memory (half of it), and requests with a checksum until they are verified (the other half, or all of it where the store is files). One such request may not be larger. With S3, the originals of which previews are made may take as much again.',
  }),

  maxSizeBytes: optional({
    env: 'LANDFALL_MAX_SIZE',
    yaml: 'maxSize',
    section: 'uploads',
    kind: size(1),
    unset: 'none',
    description: 'The largest upload that is accepted, announced as `Tus-Max-Size`.',
  }),
  allowedTypes: optional({
    env: 'LANDFALL_ALLOWED_TYPES',
    yaml: 'allowedTypes',
    section: 'uploads',
    kind: listOf('media types such as image/*,application/pdf, with commas between them', parseMediaRange),
    unset: 'all',
    description:
      'What may be uploaded: as declared when an upload is created, and by its first bytes when it is finished. See [policy](policy.md).',
  }),
  requiredMetadata: optional({
    env: 'LANDFALL_REQUIRED_METADATA',
    yaml: 'requiredMetadata',
    section: 'uploads',
    kind: listOf('keys of metadata such as filename,group, with commas between them', parseMetadataKey),
    unset: 'none',
    description: 'Metadata without which no upload is created.',
  }),
  maxOpenUploads: optional({
    env: 'LANDFALL_MAX_OPEN_UPLOADS',
    yaml: 'maxOpenUploads',
    section: 'uploads',
    kind: integer(1, 1_000_000),
    unset: 'any number',
    description: 'Unfinished uploads that one client may have at once. See [policy](policy.md).',
  }),
  expirationMs: setting({
    env: 'LANDFALL_EXPIRATION',
    yaml: 'expiration',
    section: 'uploads',
    kind: orWord(['off', 'none'], undefined, duration(1, 3650 * DAY)),
    default: '24h',
    description: 'How long an unfinished upload is kept after its last byte. Finished ones never expire.',
  }),
  verify: setting({
    env: 'LANDFALL_VERIFY',
    yaml: 'verify',
    section: 'uploads',
    kind: oneOf('declared', 'always', 'off'),
    default: 'declared',
    description: 'Whose SHA-256 is computed: of uploads that declare one, of all, or of none.',
  }),
  lockTimeoutMs: setting({
    env: 'LANDFALL_LOCK_TIMEOUT',
    yaml: 'lockTimeout',
    section: 'uploads',
    kind: duration(10, 300 * SECOND),
    default: '8s',
    description:
      'How long a request waits for another one on the same upload before it is answered with 423.',
  }),
  /** 0: never. */
  idleTimeoutMs: setting({
    env: 'LANDFALL_IDLE_TIMEOUT',
    yaml: 'idleTimeout',
    section: 'uploads',
    kind: orWord(['off', 'none'], 0, duration(10, DAY)),
    default: '60s',
    description: 'How long a body may send nothing while the server is reading; what came before is kept.',
  }),
  sweepIntervalMs: setting({
    env: 'LANDFALL_SWEEP_INTERVAL',
    yaml: 'sweepInterval',
    section: 'uploads',
    kind: duration(10, DAY),
    default: '5m',
    description: 'How often expired uploads are removed and forgotten work is taken up.',
  }),

  isAdminServed: setting({
    env: 'LANDFALL_ADMIN',
    yaml: 'admin',
    section: 'access',
    kind: onOff(),
    default: 'on',
    description: 'Whether the operator API (`GET /uploads` and the like) is served at all.',
  }),
  adminToken: optional({
    env: 'LANDFALL_ADMIN_TOKEN',
    yaml: 'adminToken',
    section: 'access',
    kind: text(
      'at least 16 of the characters that a bearer token may have: letters, digits and - . _ ~ + / (= at its end)',
      /^(?=.{16,512}$)[A-Za-z0-9._~+/-]+=*$/,
    ),
    unset: 'none: the operator API answers loopback only',
    description: 'The bearer token of the operator API.',
    isSecret: true,
  }),
  corsOrigins: setting({
    env: 'LANDFALL_CORS_ORIGINS',
    yaml: 'corsOrigins',
    section: 'access',
    kind: corsOriginsKind,
    default: '*',
    description:
      'Web pages that may upload from a browser. The operator API answers no other origin, whatever this says.',
  }),
  corsCredentials: setting({
    env: 'LANDFALL_CORS_CREDENTIALS',
    yaml: 'corsCredentials',
    section: 'access',
    kind: onOff(),
    default: 'off',
    description: 'Whether those pages may send cookies; needs exact origins.',
  }),

  ...EVENT_SETTINGS,
  ...PREVIEW_SETTINGS,
  ...MEDIA_SETTINGS,
  ...S3_SETTINGS,
  ...REDIS_SETTINGS,
} satisfies Record<string, Setting<unknown>>;

function parseMetadataKey(item: string): string {
  if (!/^[\x21-\x7e]+$/.test(item)) throw new RangeError(`"${item.slice(0, 60)}" is not visible ASCII`);
  return item;
}

export type SettingKey = keyof typeof SETTINGS;

/** Each setting's parsed value. */
export type SettingValues = {
  [K in SettingKey]: (typeof SETTINGS)[K] extends Setting<infer T> ? T : never;
};
