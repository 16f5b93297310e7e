/**
 * The only reader of process.env and landfall.yaml. One table (config/settings.ts) says which settings there
 * are; this file turns what was given into one frozen, typed object, or into a list of everything wrong with it.
 */
import { join, resolve } from 'node:path';
import type { ConfigProblem } from './config/problems.ts';
import { ConfigError, sectionLink, showValue } from './config/problems.ts';
import { checkRules } from './config/rules.ts';
import type { Setting } from './config/setting.ts';
import type { SettingKey, SettingValues } from './config/settings.ts';
import { SETTINGS } from './config/settings.ts';
import type { GivenText } from './config/sources.ts';
import { CONFIG_FILE_ENV, readEnvironment, readYamlFile } from './config/sources.ts';

export { isLoopbackHost, RESERVED_SEGMENTS } from './config/addresses.ts';
export type { ConfigProblem } from './config/problems.ts';
export { CONFIG_EXIT_CODE, ConfigError } from './config/problems.ts';

export type S3Provider = NonNullable<SettingValues['s3Provider']>;

/** The bucket and how to use it. Credentials are not here: the AWS SDK finds them itself. */
export interface S3Config {
  readonly bucket: string;
  /** The same as `bucket` unless previews have one of their own. */
  readonly previewBucket: string;
  /** '' or text that ends in a slash. */
  readonly prefix: string;
  /** Undefined: Amazon's own. */
  readonly endpoint: string | undefined;
  /** Where browsers find it; undefined: at the same address. */
  readonly publicEndpoint: string | undefined;
  readonly region: string;
  readonly forcePathStyle: boolean;
  readonly partSizeBytes: number;
  readonly partsInFlight: number;
  readonly provider: S3Provider;
  readonly sse: SettingValues['s3Sse'];
  readonly sseKmsKeyId: string | undefined;
  readonly storageClass: string | undefined;
  readonly acl: SettingValues['s3Acl'];
}

export interface RedisConfig {
  /** One of the forms of docs/redis.md; holds the password. */
  readonly url: string;
  /** What keys and channels start with, without a separator. */
  readonly prefix: string;
  readonly lockTtlMs: number;
}

type GroupedKey = Extract<SettingKey, `s3${string}` | `redis${string}`> | 'lockTtlMs' | 'spoolDir';
const GROUPED_KEYS = /^(?:s3|redis|lockTtlMs$|spoolDir$)/;

/** Everything that the server was told, deeply frozen. */
export interface Config extends Readonly<Omit<SettingValues, GroupedKey>> {
  /** Absolute, as `dataDir` is. */
  readonly spoolDir: string;
  /** Undefined with the file store. */
  readonly s3: S3Config | undefined;
  /** Undefined without LANDFALL_REDIS_URL. */
  readonly redis: RedisConfig | undefined;
}

export interface LoadConfigOptions {
  /** Default: process.env. */
  env?: NodeJS.ProcessEnv;
  /** A landfall.yaml that must exist. Default: what LANDFALL_CONFIG names, else ./landfall.yaml if there is one. */
  file?: string;
  /** What relative paths start at. Default: process.cwd(). */
  cwd?: string;
}

/** Reads the configuration; the environment wins over the file. Throws a ConfigError with every problem. */
export function loadConfig(options: LoadConfigOptions = {}): Config {
  const cwd = resolve(options.cwd ?? process.cwd());
  const problems: ConfigProblem[] = [];
  const fromEnvironment = readEnvironment(options.env ?? process.env, problems);
  const file = options.file ?? fromEnvironment.get(CONFIG_FILE_ENV)?.text;
  const fromFile = readYamlFile(file, cwd, problems);
  const given = (key: SettingKey): GivenText | undefined =>
    fromEnvironment.get(SETTINGS[key].env) ?? fromFile.get(SETTINGS[key].env);

  const values: Partial<Record<SettingKey, unknown>> = {};
  for (const key of settingKeys()) {
    const result = parseSetting(SETTINGS[key], given(key));
    if ('problem' in result) {
      problems.push(result.problem);
    } else {
      values[key] = result.value;
    }
  }
  // Each value came out of its own setting's parser: SettingValues is derived from those.
  const parsed = values as Partial<SettingValues>;
  problems.push(
    ...checkRules(parsed, (key) => {
      const source = given(key);
      return source && { name: source.name, value: showValue(source.text, SETTINGS[key].isSecret === true) };
    }),
  );
  if (problems.length > 0) {
    throw new ConfigError(problems);
  }
  return deepFreeze(assemble(parsed as SettingValues, cwd));
}

function settingKeys(): SettingKey[] {
  return Object.keys(SETTINGS) as SettingKey[];
}

function parseSetting(
  setting: Setting<unknown>,
  given: GivenText | undefined,
): { value: unknown } | { problem: ConfigProblem } {
  const text = given?.text ?? setting.default;
  if (text === null) {
    return { value: undefined };
  }
  try {
    return { value: setting.kind.parse(text) };
  } catch (error) {
    if (!(error instanceof RangeError)) {
      throw error;
    }
    return {
      problem: {
        name: given?.name ?? setting.env,
        value: showValue(text, setting.isSecret === true),
        expected: error.message === '' ? setting.kind.form : `${setting.kind.form} (${error.message})`,
        section: sectionLink(setting.section),
      },
    };
  }
}

function assemble(values: SettingValues, cwd: string): Config {
  const dataDir = resolve(cwd, values.dataDir);
  return {
    ...ungrouped(values),
    dataDir,
    spoolDir: values.spoolDir === undefined ? join(dataDir, 'spool') : resolve(cwd, values.spoolDir),
    s3: values.store === 's3' ? assembleS3(values) : undefined,
    redis:
      values.redisUrl === undefined
        ? undefined
        : { url: values.redisUrl, prefix: values.redisPrefix, lockTtlMs: values.lockTtlMs },
  };
}

function ungrouped(values: SettingValues): Omit<SettingValues, GroupedKey> {
  return Object.fromEntries(Object.entries(values).filter(([key]) => !GROUPED_KEYS.test(key))) as Omit<
    SettingValues,
    GroupedKey
  >;
}

function assembleS3(values: SettingValues): S3Config {
  // checkRules has seen to it that there is a bucket.
  const bucket = values.s3Bucket ?? '';
  const hasEndpoint = values.s3Endpoint !== undefined;
  return {
    bucket,
    previewBucket: values.s3PreviewBucket ?? bucket,
    prefix: values.s3Prefix,
    endpoint: values.s3Endpoint,
    publicEndpoint: values.s3PublicEndpoint,
    region: values.s3Region,
    forcePathStyle: values.s3ForcePathStyle ?? hasEndpoint,
    partSizeBytes: values.s3PartSizeBytes,
    partsInFlight: values.s3PartsInFlight,
    provider: values.s3Provider ?? (hasEndpoint ? 'generic' : 'aws'),
    sse: values.s3Sse,
    sseKmsKeyId: values.s3SseKmsKeyId,
    storageClass: values.s3StorageClass,
    acl: values.s3Acl,
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const child of Object.values(value)) {
      deepFreeze(child);
    }
    Object.freeze(value);
  }
  return value;
}
