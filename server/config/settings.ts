import { basePathKind, corsOriginsKind, hostKind, httpUrlKind, trustedProxiesKind } from './addresses.ts';
import type { Kind } from './kinds.ts';
import { directory, duration, integer, oneOf, onOff, orWord, size, text } from './kinds.ts';
import { redisUrlKind } from './redis-url.ts';

const SECOND = 1000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Headings of docs/configuration.md, in order. Each id is the heading's anchor. */
export const SECTIONS = {
  server: 'Where it listens, and how it runs',
  storage: 'Where bytes are kept',
  uploads: 'What an upload may do',
  access: 'Who may do what',
  s3: 'The S3 bucket',
  redis: 'Redis',
} as const;
export type SectionId = keyof typeof SECTIONS;

/** One setting: where it is read, what it may be, and what the documentation says of it. */
export interface Setting<T> {
  env: `LANDFALL_${string}`;
  /** The key in landfall.yaml; a dot stands for nesting. */
  yaml: string;
  section: SectionId;
  kind: Kind<T>;
  /** Written as a user would write it, and read by the same parser. Null: undefined, see `unset`. */
  default: string | null;
  /** What stands in for a default that depends on other settings. */
  unset?: string;
  /** One sentence. */
  description: string;
  /** Never shown in a problem. */
  isSecret?: boolean;
}

type WithDefault<T> = Omit<Setting<T>, 'default' | 'unset'> & { default: string };
type WithoutDefault<T> = Omit<Setting<T>, 'default' | 'unset'> & { unset: string };

function setting<T>(fields: WithDefault<T>): Setting<T> {
  return fields;
}

/** A setting that may stay undefined; `none` says so, for an environment that has to undo landfall.yaml. */
function optional<T>(fields: WithoutDefault<T>): Setting<T | undefined> {
  return { ...fields, kind: orWord<T, undefined>(['none'], undefined, fields.kind), default: null };
}

const objectName = /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/;

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
    default: '128MiB',
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
    description: 'Disk space that the spool directory may take.',
  }),

  maxSizeBytes: optional({
    env: 'LANDFALL_MAX_SIZE',
    yaml: 'maxSize',
    section: 'uploads',
    kind: size(1),
    unset: 'none',
    description: 'The largest upload that is accepted, announced as `Tus-Max-Size`.',
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

  s3Bucket: optional({
    env: 'LANDFALL_S3_BUCKET',
    yaml: 's3.bucket',
    section: 's3',
    kind: text("a bucket's name", objectName),
    unset: 'none; needed with `LANDFALL_STORE=s3`',
    description:
      'The bucket that holds uploads. Keys are found by the AWS SDK itself (`AWS_ACCESS_KEY_ID`, profiles, roles).',
  }),
  s3PreviewBucket: optional({
    env: 'LANDFALL_S3_PREVIEW_BUCKET',
    yaml: 's3.previewBucket',
    section: 's3',
    kind: text("a bucket's name", objectName),
    unset: 'the same bucket, under a prefix of its own',
    description: 'The bucket that holds previews.',
  }),
  s3Prefix: setting({
    env: 'LANDFALL_S3_PREFIX',
    yaml: 's3.prefix',
    section: 's3',
    kind: keyPrefix(),
    default: 'none',
    description: 'What every key starts with, so that several services can share a bucket.',
  }),
  s3Endpoint: optional({
    env: 'LANDFALL_S3_ENDPOINT',
    yaml: 's3.endpoint',
    section: 's3',
    kind: httpUrlKind('an http or https URL such as http://127.0.0.1:9000'),
    unset: "none: Amazon's own",
    description: 'The S3 server, where it is not Amazon.',
  }),
  s3Region: setting({
    env: 'LANDFALL_S3_REGION',
    yaml: 's3.region',
    section: 's3',
    kind: text('a region such as us-east-1', /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/),
    default: 'us-east-1',
    description: 'The region that requests are signed for.',
  }),
  s3ForcePathStyle: optional({
    env: 'LANDFALL_S3_FORCE_PATH_STYLE',
    yaml: 's3.forcePathStyle',
    section: 's3',
    kind: onOff(),
    unset: 'on with an endpoint, else off',
    description: "Whether the bucket's name goes into the path instead of the host name.",
  }),
  s3PartSizeBytes: setting({
    env: 'LANDFALL_S3_PART_SIZE',
    yaml: 's3.partSize',
    section: 's3',
    kind: size(5 * MIB, 5 * GIB),
    default: '8MiB',
    description: 'The size of a part; an upload has at most 10,000, so large ones get larger parts.',
  }),
  s3PartsInFlight: setting({
    env: 'LANDFALL_S3_PARTS_IN_FLIGHT',
    yaml: 's3.partsInFlight',
    section: 's3',
    kind: integer(1, 64),
    default: '4',
    description: 'How many parts of one upload are sent at the same time.',
  }),
  s3Provider: optional({
    env: 'LANDFALL_S3_PROVIDER',
    yaml: 's3.provider',
    section: 's3',
    kind: oneOf('aws', 'r2', 'wasabi', 'b2', 'spaces', 'gcs', 'ceph', 'seaweedfs', 'generic'),
    unset: 'generic with an endpoint, else aws',
    description: 'Whose S3 it is: chooses checksums, tags and limits that this one understands.',
  }),
  s3Sse: optional({
    env: 'LANDFALL_S3_SSE',
    yaml: 's3.sse',
    section: 's3',
    kind: oneOf('AES256', 'aws:kms'),
    unset: "none: the bucket's own setting",
    description: 'Encryption that is asked for with every object.',
  }),
  s3SseKmsKeyId: optional({
    env: 'LANDFALL_S3_SSE_KMS_KEY_ID',
    yaml: 's3.sseKmsKeyId',
    section: 's3',
    kind: text("a KMS key's id, alias or ARN", /^[A-Za-z0-9:/_-]{1,2048}$/),
    unset: "none: the account's default key",
    description: 'The key to encrypt with; needs `LANDFALL_S3_SSE=aws:kms`.',
  }),
  s3StorageClass: optional({
    env: 'LANDFALL_S3_STORAGE_CLASS',
    yaml: 's3.storageClass',
    section: 's3',
    kind: text('a storage class such as STANDARD_IA, in capitals', /^[A-Z][A-Z0-9_]{0,63}$/),
    unset: "none: the bucket's own setting",
    description: 'The storage class of finished uploads. They have to stay readable at once.',
  }),
  s3Acl: optional({
    env: 'LANDFALL_S3_ACL',
    yaml: 's3.acl',
    section: 's3',
    kind: oneOf(
      'private',
      'public-read',
      'public-read-write',
      'authenticated-read',
      'aws-exec-read',
      'bucket-owner-read',
      'bucket-owner-full-control',
    ),
    unset: 'none sent',
    description: 'The canned ACL of every object. Many buckets refuse ACLs altogether.',
  }),

  redisAddress: optional({
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
    kind: duration(SECOND, 8 * SECOND),
    default: '6s',
    description:
      "How long a dead process's lock in Redis lives on. Clients retry for 9 s, so it has to be shorter.",
  }),
} satisfies Record<string, Setting<unknown>>;

export type SettingKey = keyof typeof SETTINGS;

/** Each setting's parsed value. */
export type SettingValues = {
  [K in SettingKey]: (typeof SETTINGS)[K] extends Setting<infer T> ? T : never;
};

/** '' or a prefix that ends in a slash. */
function keyPrefix(): Kind<string> {
  const path = text(
    "a key's first part such as team/uploads: letters, digits and . _ - between single slashes",
    /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\/?$/,
  );
  return orWord(['none'], '', {
    form: path.form,
    parse(given) {
      if (given.length > 256) {
        throw new RangeError('this is more than 256 characters');
      }
      return path.parse(given).replace(/\/?$/, '/');
    },
  });
}
