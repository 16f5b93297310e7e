import {
  GetBucketLifecycleConfigurationCommand,
  GetBucketVersioningCommand,
  type LifecycleRule,
} from '@aws-sdk/client-s3';
import { formatDuration } from '../../config/units.ts';
import { type Check, type Finding, fail, ok, warn } from '../types.ts';
import { explainS3Failure, failureCode } from './explain-failure.ts';
import type { S3Probe } from './probe.ts';

const DAY_MS = 86_400_000;
const NO_RULES = 'NoSuchLifecycleConfiguration';
/** Objects there cannot be read at once. */
const ARCHIVES = new Set(['GLACIER', 'DEEP_ARCHIVE']);

/** Rules by which the bucket itself removes or moves things, possibly under an upload that still runs. */
export function lifecycleCheck({ client, bucket, config }: S3Probe, expirationMs: number | undefined): Check {
  async function readRules(): Promise<Finding[]> {
    try {
      const { Rules = [] } = await client.send(
        new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }),
      );
      return judgeLifecycle(Rules, { prefix: config.prefix, expirationMs });
    } catch (error) {
      if (failureCode(error) === NO_RULES) return judgeLifecycle([], { prefix: config.prefix, expirationMs });
      const { text } = explainS3Failure(error, {
        doing: "Reading the bucket's lifecycle rules",
        permission: '',
      });
      const change =
        'Allow s3:GetLifecycleConfiguration to have it checked, or make sure that no rule aborts multipart uploads earlier than LANDFALL_EXPIRATION.';
      return [warn(text, change)];
    }
  }

  async function readVersioning(): Promise<Finding[]> {
    try {
      const { Status } = await client.send(new GetBucketVersioningCommand({ Bucket: bucket }));
      if (Status !== 'Enabled') return [];
      return [
        warn(
          'The bucket keeps old versions: what Landfall writes over or deletes stays, and is paid for.',
          'Add a lifecycle rule with NoncurrentVersionExpiration of one day, or use a bucket without versioning.',
        ),
      ];
    } catch {
      return []; // Not every service knows versions, and those that do not keep none.
    }
  }

  return { name: 'lifecycle', run: async () => [...(await readRules()), ...(await readVersioning())] };
}

/** `expirationMs`: undefined when unfinished uploads never expire. */
export function judgeLifecycle(
  rules: readonly LifecycleRule[],
  { prefix, expirationMs }: { prefix: string; expirationMs: number | undefined },
): Finding[] {
  const findings = rules
    .filter((rule) => rule.Status === 'Enabled' && concerns(rule, prefix))
    .flatMap((rule) => {
      const name =
        rule.ID === undefined || rule.ID === '' ? 'A lifecycle rule' : `The lifecycle rule "${rule.ID}"`;
      return [
        ...judgeAbort(name, rule.AbortIncompleteMultipartUpload?.DaysAfterInitiation, expirationMs),
        ...judgeExpiry(name, rule.Expiration, expirationMs),
        ...judgeTransitions(name, rule.Transitions ?? []),
      ];
    });
  return findings.length > 0 ? findings : [ok('No lifecycle rule touches uploads that may still go on.')];
}

function judgeAbort(name: string, days: number | undefined, expirationMs: number | undefined): Finding[] {
  if (days === undefined) return [];
  const what = `${name} aborts multipart uploads ${inDays(days)} after they began`;
  if (expirationMs === undefined) {
    return [
      fail(
        `${what}, and with LANDFALL_EXPIRATION=off they may go on for ever: what was acknowledged would be lost.`,
        `Remove that rule, or set LANDFALL_EXPIRATION to less than ${inDays(days)}. Landfall removes expired uploads itself.`,
      ),
    ];
  }
  if (days * DAY_MS < expirationMs) {
    return [
      fail(
        `${what}, but Landfall lets clients go on for ${formatDuration(expirationMs)} (LANDFALL_EXPIRATION): what was acknowledged would be lost.`,
        `Raise the rule to ${inDays(Math.ceil(expirationMs / DAY_MS) + 7)} or more, or remove it: Landfall removes expired uploads itself.`,
      ),
    ];
  }
  // Landfall counts from an upload's last byte, the rule from its beginning.
  if (days * DAY_MS < expirationMs + DAY_MS) {
    return [
      warn(
        `${what}. Landfall counts its ${formatDuration(expirationMs)} from the last byte: an upload that takes longer than a moment can be cut off before it expires.`,
        `Raise the rule to ${inDays(Math.ceil(expirationMs / DAY_MS) + 7)} or more.`,
      ),
    ];
  }
  return [ok(`${what}: later than LANDFALL_EXPIRATION (${formatDuration(expirationMs)}).`)];
}

function judgeExpiry(
  name: string,
  expiry: LifecycleRule['Expiration'],
  expirationMs: number | undefined,
): Finding[] {
  if (expiry?.Days === undefined && expiry?.Date === undefined) return [];
  const when = expiry.Days === undefined ? 'from a set date on' : `after ${inDays(expiry.Days)}`;
  const change = `Limit the rule to keys outside of ours (LANDFALL_S3_PREFIX), or remove it.`;
  const isTooEarly =
    expiry.Days === undefined || expirationMs === undefined || expiry.Days * DAY_MS < expirationMs;
  return isTooEarly
    ? [fail(`${name} deletes objects ${when}: also what is known about uploads that still run.`, change)]
    : [
        warn(
          `${name} deletes finished uploads ${when}, behind Landfall's back.`,
          `If that is not meant: ${change}`,
        ),
      ];
}

function judgeTransitions(name: string, transitions: NonNullable<LifecycleRule['Transitions']>): Finding[] {
  const archive = transitions.find(({ StorageClass = '' }) => ARCHIVES.has(StorageClass));
  if (archive === undefined) return [];
  return [
    warn(
      `${name} moves objects to ${archive.StorageClass}: from there they cannot be downloaded at once.`,
      'Use a class that can be read at once, such as GLACIER_IR.',
    ),
  ];
}

/** Could the rule match keys of ours? One that asks for tags cannot: Landfall sets none. */
function concerns(rule: LifecycleRule, prefix: string): boolean {
  const { Filter: filter } = rule;
  if (filter?.Tag !== undefined || (filter?.And?.Tags ?? []).length > 0) return false;
  const rulePrefix = filter?.Prefix ?? filter?.And?.Prefix ?? rule.Prefix ?? '';
  return rulePrefix.startsWith(prefix) || prefix.startsWith(rulePrefix);
}

function inDays(days: number): string {
  return days === 1 ? '1 day' : `${days} days`;
}
