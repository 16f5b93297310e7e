import { isLoopbackHost } from './addresses.ts';
import type { ConfigProblem } from './problems.ts';
import { NOT_SET, sectionLink } from './problems.ts';
import type { SettingKey, SettingValues } from './settings.ts';
import { SETTINGS } from './settings.ts';
import { formatSize } from './units.ts';

/** A combination of settings that cannot work or is not safe. */
interface Rule {
  /** The setting that the problem is reported under. */
  blames: SettingKey;
  /** What it looks at; when one of these is itself wrong the rule is left out. */
  needs: readonly SettingKey[];
  isBroken(values: SettingValues): boolean;
  /** What to do instead, and why. */
  expected(values: SettingValues): string;
}

const RULES: readonly Rule[] = [
  {
    blames: 'adminToken',
    needs: ['host', 'isAdminServed', 'adminToken'],
    isBroken: (values) =>
      !isLoopbackHost(values.host) && values.isAdminServed && values.adminToken === undefined,
    expected: (values) =>
      `a token of at least 16 characters, or LANDFALL_ADMIN=off: the server refuses to bind to ${values.host}, ` +
      'where others reach it, while its operator API is open',
  },
  {
    blames: 'corsCredentials',
    needs: ['corsCredentials', 'corsOrigins'],
    isBroken: (values) =>
      values.corsCredentials && (values.corsOrigins === '*' || values.corsOrigins.length === 0),
    expected: () =>
      'off, or exact origins in LANDFALL_CORS_ORIGINS: cookies from every page would let any page act as its visitor',
  },
  {
    blames: 's3Bucket',
    needs: ['store', 's3Bucket'],
    isBroken: (values) => values.store === 's3' && values.s3Bucket === undefined,
    expected: () => "a bucket's name, because LANDFALL_STORE=s3",
  },
  {
    blames: 's3Endpoint',
    needs: ['store', 's3Provider', 's3Endpoint'],
    isBroken: (values) =>
      values.store === 's3' &&
      values.s3Provider !== undefined &&
      values.s3Provider !== 'aws' &&
      values.s3Endpoint === undefined,
    expected: (values) =>
      `the URL of the S3 server, because LANDFALL_S3_PROVIDER=${values.s3Provider} is not Amazon`,
  },
  {
    blames: 's3SseKmsKeyId',
    needs: ['s3Sse', 's3SseKmsKeyId'],
    isBroken: (values) => values.s3SseKmsKeyId !== undefined && values.s3Sse !== 'aws:kms',
    expected: () => 'none, or LANDFALL_S3_SSE=aws:kms: with any other encryption the key would not be used',
  },
  {
    blames: 's3PartSizeBytes',
    needs: ['store', 's3PartSizeBytes', 'bufferBudgetBytes', 'spoolBudgetBytes'],
    isBroken: (values) =>
      values.store === 's3' &&
      values.s3PartSizeBytes > Math.max(values.bufferBudgetBytes, values.spoolBudgetBytes),
    expected: (values) =>
      `at most ${formatSize(Math.max(values.bufferBudgetBytes, values.spoolBudgetBytes))}: a part has to fit into ` +
      'LANDFALL_BUFFER_BUDGET or LANDFALL_SPOOL_BUDGET',
  },
  {
    blames: 'processes',
    needs: ['store', 'processes'],
    isBroken: (values) => values.processes > 1 && values.store === 'file',
    expected: () =>
      '1 with the file store: its locks live inside one process, so two could write the same upload at once',
  },
  {
    blames: 'processes',
    needs: ['store', 'processes', 'redisUrl'],
    isBroken: (values) => values.processes > 1 && values.store === 's3' && values.redisUrl === undefined,
    expected: () =>
      '1 without LANDFALL_REDIS_URL: only locks in Redis keep two processes from writing the same upload at once',
  },
  {
    blames: 'role',
    needs: ['role', 'store', 'redisUrl'],
    isBroken: (values) => values.role !== 'all' && (values.store === 'file' || values.redisUrl === undefined),
    expected: () =>
      'all, or the S3 store and LANDFALL_REDIS_URL: without them a worker would not see what other processes received',
  },
  {
    blames: 'webhookSecret',
    needs: ['webhookUrl', 'webhookSecret'],
    isBroken: (values) => values.webhookUrl !== undefined && values.webhookSecret === undefined,
    expected: () =>
      'a secret, because LANDFALL_WEBHOOK_URL is set: its receiver must be able to tell who calls',
  },
  {
    blames: 'mediaRedirect',
    needs: ['store', 'mediaRedirect'],
    isBroken: (values) => values.store === 'file' && values.mediaRedirect === 'presigned',
    expected: () => 'off with the file store: there is no bucket to redirect to',
  },
  {
    blames: 'accelRedirect',
    needs: ['store', 'accelRedirect'],
    isBroken: (values) => values.store !== 'file' && values.accelRedirect !== undefined,
    expected: () => 'none with S3: nginx finds no files there',
  },
];

/**
 * Checks settings against each other. `values` has no entry for a setting that could not be parsed;
 * `shown` gives the printable form of what was written, or undefined when nothing was.
 */
export function checkRules(
  values: Partial<SettingValues>,
  shown: (key: SettingKey) => { name: string; value: string } | undefined,
): ConfigProblem[] {
  return RULES.filter((rule) => hasAll(values, rule.needs) && rule.isBroken(values)).map((rule) => {
    const setting = SETTINGS[rule.blames];
    const { name, value } = shown(rule.blames) ?? {
      name: setting.env,
      value: setting.default === null ? NOT_SET : `${JSON.stringify(setting.default)} (the default)`,
    };
    return {
      name,
      value,
      // The rule only looked at settings that are there.
      expected: rule.expected(values as SettingValues),
      section: sectionLink(setting.section),
    };
  });
}

function hasAll(values: Partial<SettingValues>, keys: readonly SettingKey[]): values is SettingValues {
  return keys.every((key) => Object.hasOwn(values, key));
}
