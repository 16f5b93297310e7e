import type { LifecycleRule } from '@aws-sdk/client-s3';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../server/config.ts';
import { createRenderer } from '../../server/doctor/render.ts';
import { runChecks } from '../../server/doctor/run-checks.ts';
import { clockCheck, clockDifferenceMs } from '../../server/doctor/s3/clock.ts';
import { judgeCors } from '../../server/doctor/s3/cors.ts';
import { explainS3Failure } from '../../server/doctor/s3/explain-failure.ts';
import { judgeLifecycle } from '../../server/doctor/s3/lifecycle.ts';
import { presign } from '../../server/doctor/s3/presign.ts';
import type { S3Probe, SeenAnswer } from '../../server/doctor/s3/probe.ts';
import { detectProvider } from '../../server/doctor/s3/provider.ts';
import { sizingCheck } from '../../server/doctor/sizing.ts';
import { type CheckGroup, fatal, ok, warn } from '../../server/doctor/types.ts';

const DAY_MS = 86_400_000;
const GIB = 1024 ** 3;

describe('lifecycle rules', () => {
  const judge = (
    rule: Partial<LifecycleRule>,
    expirationMs: number | undefined = 7 * DAY_MS,
    prefix = 'up/',
  ) =>
    judgeLifecycle([{ Status: 'Enabled', Filter: { Prefix: '' }, ...rule }], { prefix, expirationMs }).map(
      ({ level }) => level,
    );
  const abortAfter = (DaysAfterInitiation: number) => ({
    AbortIncompleteMultipartUpload: { DaysAfterInitiation },
  });

  test.each([
    ['earlier than uploads expire', abortAfter(6), ['fail']],
    ['just then: it counts from the beginning, Landfall from the last byte', abortAfter(7), ['warn']],
    ['later', abortAfter(8), ['ok']],
    ['earlier, but switched off', { ...abortAfter(1), Status: 'Disabled' as const }, ['ok']],
    ['earlier, for other keys', { ...abortAfter(1), Filter: { Prefix: 'logs/' } }, ['ok']],
    ['earlier, for keys below ours', { ...abortAfter(1), Filter: { Prefix: 'up/x' } }, ['fail']],
    ['earlier, by a prefix in the old place', { ...abortAfter(1), Filter: undefined, Prefix: 'u' }, ['fail']],
    ['earlier, for a prefix and a size', { ...abortAfter(1), Filter: { And: { Prefix: 'up/' } } }, ['fail']],
    [
      'earlier, for tags that we never set',
      { ...abortAfter(1), Filter: { Tag: { Key: 'a', Value: 'b' } } },
      ['ok'],
    ],
    ['objects deleted while uploads run', { Expiration: { Days: 3 } }, ['fail']],
    ['objects deleted later', { Expiration: { Days: 30 } }, ['warn']],
    ['objects deleted from a date on', { Expiration: { Date: new Date(0) } }, ['fail']],
    ['delete markers removed', { Expiration: { ExpiredObjectDeleteMarker: true } }, ['ok']],
    ['objects archived', { Transitions: [{ Days: 30, StorageClass: 'DEEP_ARCHIVE' as const }] }, ['warn']],
    [
      'objects moved to a cheaper class',
      { Transitions: [{ Days: 30, StorageClass: 'STANDARD_IA' as const }] },
      ['ok'],
    ],
  ])('%s', (_what, rule, levels) => {
    expect(judge(rule as Partial<LifecycleRule>)).toEqual(levels);
  });

  test('uploads that never expire bear no such rule at all', () => {
    const [finding] = judgeLifecycle([{ ID: 'tidy', Status: 'Enabled', ...abortAfter(365) }], {
      prefix: '',
      expirationMs: undefined,
    });
    expect(finding).toMatchObject({
      level: 'fail',
      text: expect.stringContaining('LANDFALL_EXPIRATION=off'),
    });
  });
});

describe('CORS rules', () => {
  const rule = {
    AllowedOrigins: ['https://*.example'],
    AllowedMethods: ['GET', 'PUT', 'POST'],
    AllowedHeaders: ['*'],
    ExposeHeaders: ['etag'],
  };
  test.each([
    [[rule], ['https://app.example'], 'ok'],
    [[rule], ['https://app.example', 'https://other.test'], 'warn'],
    [[rule], '*' as const, 'warn'],
    [[{ ...rule, AllowedOrigins: ['*'] }], '*' as const, 'ok'],
    [[{ ...rule, AllowedMethods: ['GET'] }], ['https://app.example'], 'warn'],
    [[{ ...rule, AllowedMethods: ['GET', 'PUT'] }], ['https://app.example'], 'warn'],
    [[{ ...rule, AllowedHeaders: ['Content-Type'] }], ['https://app.example'], 'warn'],
    [[{ ...rule, ExposeHeaders: [] }], ['https://app.example'], 'warn'],
    [[], ['https://app.example'], 'warn'],
  ])('%j for %j: %s', (rules, origins, level) => {
    expect(judgeCors(rules, origins, { hasForms: true }).map((finding) => finding.level)).toEqual([level]);
  });

  test('need no POST where forms are not taken', () => {
    const rules = [{ ...rule, AllowedMethods: ['PUT'] }];
    const [finding] = judgeCors(rules, ['https://app.example'], { hasForms: false });
    expect(finding?.level).toBe('ok');
  });
});

describe('which provider it is', () => {
  test.each([
    ['uploads.s3.eu-central-1.amazonaws.com', {}, 'aws'],
    ['account.r2.cloudflarestorage.com', { server: 'cloudflare' }, 'r2'],
    ['s3.eu-central-2.wasabisys.com', {}, 'wasabi'],
    ['s3.us-west-004.backblazeb2.com', {}, 'b2'],
    ['fra1.digitaloceanspaces.com', { 'x-amz-request-id': 'tx000000000000000000001-0065' }, 'spaces'],
    ['storage.googleapis.com', {}, 'gcs'],
    ['s3', { server: 'SeaweedFS 30GB 4.43' }, 'seaweedfs'],
    ['127.0.0.1', { 'x-amz-request-id': 'tx00000f1d3c0a6c6b9a2e7-0065f0-1042-default' }, 'ceph'],
    ['127.0.0.1', { 'x-rgw-object-type': 'Normal' }, 'ceph'],
    ['127.0.0.1', { server: 'MinIO' }, undefined],
    ['evil-amazonaws.com.example', {}, undefined],
  ])('%s %j', (hostname, headers, provider) => {
    expect(detectProvider(hostname, [{}, headers as Record<string, string>])).toBe(provider);
  });
});

describe('the clock', () => {
  const answer = (sentAtMs: number, receivedAtMs: number, dateMs: number): SeenAnswer => ({
    status: 200,
    url: 'http://s3/',
    sentAtMs,
    receivedAtMs,
    headers: { date: new Date(dateMs).toUTCString() },
  });
  const levelAt = async (aheadMs: number) => {
    const answers = [answer(aheadMs + 5_000_400, aheadMs + 5_000_600, 5_000_500)];
    const [finding] = await clockCheck({ answers } as S3Probe).run();
    return finding?.level;
  };

  test('is right as long as the answer can be explained without a difference', () => {
    expect(clockDifferenceMs([answer(5_000_900, 5_001_100, 5_000_000)])).toBe(0);
    expect(clockDifferenceMs([answer(5_000_000, 5_030_000, 5_020_000)])).toBe(0);
    expect(clockDifferenceMs([{ ...answer(0, 0, 0), headers: {} }])).toBeUndefined();
  });
  test('the smallest difference that explains an answer counts', () => {
    const slow = answer(60_000, 90_000, 20_000);
    const fast = answer(60_000, 60_100, 40_000);
    expect(clockDifferenceMs([slow, fast])).toBe(19_000);
    expect(clockDifferenceMs([answer(10_000, 10_100, 40_000)])).toBe(-29_900);
  });
  test('some seconds are fine, minutes are not', async () => {
    expect(await levelAt(0)).toBe('ok');
    expect(await levelAt(-3_000)).toBe('ok');
    expect(await levelAt(30_000)).toBe('warn');
    expect(await levelAt(-3_600_000)).toBe('fail');
  });
});

describe('sizes', () => {
  const levels = async (env: Record<string, string>, memoryBytes = 8 * GIB) => {
    const config = loadConfig({
      env: { LANDFALL_STORE: 's3', LANDFALL_S3_BUCKET: 'bucket', ...env },
      cwd: '/nonexistent',
    });
    return (await sizingCheck(config, memoryBytes).run()).map(({ level }) => level);
  };
  test.each([
    [{}, ['ok', 'ok']],
    // 5 TiB in 10,000 parts are parts of 525 MiB.
    [{ LANDFALL_SPOOL_BUDGET: '500MiB' }, ['fail', 'ok']],
    [{ LANDFALL_SPOOL_BUDGET: '500MiB', LANDFALL_MAX_SIZE: '100GiB' }, ['ok', 'ok']],
    [{ LANDFALL_S3_PART_SIZE: '64MiB' }, ['warn', 'ok']],
    [{ LANDFALL_BUFFER_BUDGET: '6GiB' }, ['ok', 'warn']],
    [{ LANDFALL_BUFFER_BUDGET: '8GiB' }, ['ok', 'fail']],
  ])('%j', async (env, expected) => {
    expect(await levels(env)).toEqual(expected);
  });
});

describe('why S3 refused', () => {
  const attempt = { doing: 'Writing an object', permission: 's3:PutObject' };
  const thrown = (fields: Record<string, unknown>) => Object.assign(new Error('words'), fields);
  test.each([
    [{ name: 'AccessDenied', $metadata: { httpStatusCode: 403 } }, 'Allow s3:PutObject'],
    [{ name: 'PermanentRedirect', $metadata: { httpStatusCode: 301 } }, 'LANDFALL_S3_REGION'],
    [{ name: 'AuthorizationHeaderMalformed', Region: 'eu-west-1' }, 'LANDFALL_S3_REGION to eu-west-1'],
    [{ name: 'RequestTimeTooSkewed', $metadata: { httpStatusCode: 403 } }, 'NTP'],
    [{ name: 'AccessControlListNotSupported', $metadata: { httpStatusCode: 400 } }, 'LANDFALL_S3_ACL'],
    [{ name: 'Error', code: 'SELF_SIGNED_CERT_IN_CHAIN' }, 'NODE_EXTRA_CA_CERTS'],
    [{ name: 'Error', code: 'ENOTFOUND' }, 'LANDFALL_S3_ENDPOINT'],
    [{ name: 'TimeoutError' }, 'LANDFALL_S3_ENDPOINT'],
  ])('%j', (fields, change) => {
    expect(explainS3Failure(thrown(fields), attempt)).toMatchObject({
      level: 'fail',
      change: expect.stringContaining(change),
    });
  });
});

test('a presigned URL is the one of the example in Amazon’s documentation', () => {
  const url = presign({
    method: 'GET',
    url: new URL('https://examplebucket.s3.amazonaws.com/test.txt'),
    region: 'us-east-1',
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
    secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    atMs: Date.UTC(2013, 4, 24),
    expiresSeconds: 86_400,
  });
  expect(url.searchParams.get('X-Amz-Signature')).toBe(
    'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
  );
});

describe('running checks', () => {
  const group = (title: string, checks: CheckGroup['checks'], closed: string[]): CheckGroup => ({
    title,
    checks,
    async close() {
      closed.push(title);
      return [];
    },
  });

  test('a finding that ends its group leaves the rest out, and a check that throws is a finding', async () => {
    const closed: string[] = [];
    const results = await runChecks([
      group(
        'A',
        [
          { name: 'one', run: async () => [fatal('no', 'do')] },
          { name: 'two', run: async () => [ok('x')] },
        ],
        closed,
      ),
      group(
        'B',
        [
          { name: 'three', run: () => Promise.reject(new Error('oops')) },
          { name: 'four', run: async () => [] },
        ],
        closed,
      ),
    ]);
    expect(results[0]).toMatchObject({ checks: [{ name: 'one' }], skipped: ['two'] });
    expect(results[1]?.checks.map(({ name }) => name)).toEqual(['three', 'four']);
    expect(results[1]?.checks[0]?.findings).toMatchObject([
      { level: 'fail', text: 'The check itself failed: oops.' },
    ]);
    expect(closed).toEqual(['A', 'B']);
  });

  test('an interruption ends the check at hand, and everything is closed', async () => {
    const closed: string[] = [];
    const stop = new AbortController();
    const check = (name: string) => ({
      name,
      async run() {
        stop.abort();
        return [ok('done')];
      },
    });
    const results = await runChecks(
      [group('A', [check('one'), check('two')], closed), group('B', [check('three')], closed)],
      {},
      stop.signal,
    );
    expect(results).toMatchObject([{ title: 'A', checks: [{ name: 'one' }], skipped: ['two'] }]);
    expect(closed).toEqual(['A', 'B']);
  });

  test('long texts are broken between words, snippets are not, and colours are for terminals', () => {
    const render = createRenderer({ hasColor: true, width: 60 });
    const text = render.check({
      name: 'CORS',
      findings: [warn('one two three four five six seven eight nine ten', `Copy this:\n  ${'x'.repeat(80)}`)],
      durationMs: 1,
    });
    expect(text.split('\n')).toEqual([
      '    \u001b[33m!\u001b[0m CORS          one two three four five six seven eight',
      '                    nine ten',
      '                    \u001b[33m→\u001b[0m Copy this:',
      `                        ${'x'.repeat(80)}`,
      '',
    ]);
  });
});
