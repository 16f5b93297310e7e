import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
} from '@aws-sdk/client-s3';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { loadConfig } from '../../server/config.ts';
import { neededRights } from '../../server/doctor/redis/rights.ts';
import { conditionalCheck } from '../../server/doctor/s3/conditional.ts';
import { corsCheck } from '../../server/doctor/s3/cors.ts';
import { directCheck } from '../../server/doctor/s3/direct.ts';
import { lifecycleCheck } from '../../server/doctor/s3/lifecycle.ts';
import { listingCheck } from '../../server/doctor/s3/listing.ts';
import { multipartCheck } from '../../server/doctor/s3/multipart.ts';
import { objectsCheck } from '../../server/doctor/s3/objects.ts';
import { presignedCheck } from '../../server/doctor/s3/presigned.ts';
import { previewsCheck } from '../../server/doctor/s3/previews.ts';
import { openS3Probe, type S3Probe } from '../../server/doctor/s3/probe.ts';
import { diagnose, runDoctor } from '../support/doctor.ts';
import { freePort, type RedisServer, type StartRedisOptions, startRedis, until } from '../support/redis.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Access } from '../support/s3-environment.ts';
import { startS3FaultProxy } from '../support/s3-fault-proxy.ts';

const DAY_MS = 86_400_000;

const service = inject('s3');
const cleanUps: (() => unknown)[] = [];
let shared: TestBucket;
let spool: string;

beforeEach(async () => {
  shared = openTestBucket(service);
  cleanUps.push(() => shared.close());
  spool = await mkdtemp(join(tmpdir(), 'landfall-doctor-test-'));
  cleanUps.push(() => rm(spool, { recursive: true }));
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function redisWith(...args: string[]): Promise<RedisServer> {
  const options: StartRedisOptions = { args };
  const server = await startRedis(options);
  cleanUps.push(() => server.stop());
  return server;
}

/** The shared bucket, under a prefix of this test's own. */
function onSharedBucket(more: Record<string, string> = {}): Record<string, string> {
  return {
    ...s3Access(service),
    LANDFALL_S3_PREFIX: shared.prefix,
    LANDFALL_SPOOL_DIR: spool,
    LANDFALL_DATA_DIR: spool,
    ...more,
  };
}

/** A bucket whose settings a test may change. */
async function newBucket(): Promise<string> {
  const bucket = `doctor-${randomBytes(6).toString('hex')}`;
  await shared.client.send(new CreateBucketCommand({ Bucket: bucket }));
  cleanUps.push(() => shared.client.send(new DeleteBucketCommand({ Bucket: bucket })));
  return bucket;
}

async function expectEmpty(bucket: string, prefix = ''): Promise<void> {
  const objects = await shared.client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
  expect(objects.Contents ?? []).toEqual([]);
  const uploads = await shared.client.send(
    new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix }),
  );
  expect(uploads.Uploads ?? []).toEqual([]);
}

describe('the doctor, on a real S3 server and a real Redis', { timeout: 60_000 }, () => {
  test('finds a good setup good, and leaves nothing behind', async () => {
    const redis = await redisWith('--appendonly', 'yes');
    await redis.admin.set('somebody-elses', 'value');
    const found = await diagnose(onSharedBucket({ LANDFALL_REDIS_URL: redis.url, LANDFALL_PROCESSES: '2' }));
    // What this S3 server really lacks: it copies a part whatever entity tag its source has, and has no CORS rules.
    expect(found.troubles()).toEqual(['multipart: warn', 'CORS: warn']);
    expect(found.of('multipart')[1]?.text).toContain('ignores the entity tag');
    expect(found.exitCode).toBe(0);
    expect(found.groups.map(({ title }) => title.split(' ')[0])).toEqual([
      'Configuration',
      'Bucket',
      'Redis',
      'Spool',
    ]);
    expect(found.groups.flatMap(({ skipped }) => skipped)).toEqual([]);
    for (const name of [
      'objects',
      'conditions',
      'listing',
      'presigned',
      'direct',
      'checksums',
      'clock',
      'provider',
      'previews',
      'commands',
    ]) {
      expect(found.of(name).map(({ level }) => level)).toEqual(['ok']);
    }
    await expectEmpty(service.bucket, shared.prefix);
    expect(await redis.admin.keys('*')).toEqual(['somebody-elses']);
  });

  test('says it so that a person can read it', async () => {
    const redis = await redisWith('--maxmemory-policy', 'allkeys-lru');
    const env = onSharedBucket({ LANDFALL_REDIS_URL: redis.url, LANDFALL_S3_PROVIDER: 'generic' });
    const { stdout, stderr, exitCode } = await runDoctor(env);
    expect(stderr).toBe('');
    expect(exitCode).toBe(1);
    expect(stdout).toContain(
      `\n  Bucket ${service.bucket} at ${service.endpoint} (provider generic)\n    ✓ reach         The bucket answers`,
    );
    expect(stdout).toContain('\n    ✗ eviction      maxmemory-policy is allkeys-lru: when memory runs out');
    expect(stdout).toContain('\n                    → Set maxmemory-policy noeviction');
    expect(stdout).toContain('→ Set LANDFALL_S3_PROVIDER=ceph.');
    const slow = [...stdout.matchAll(/\n {4}! (?:latency|fsync) /g)].length; // as busy as this machine may be
    expect(stdout).toMatch(
      new RegExp(
        `\n {2}Landfall should not run like this\\. 1 to fix, ${4 + slow} to look at, \\d+ fine\\.\n`,
      ),
    );
    // Not for a terminal: no colours. Secrets: never.
    expect(stdout).not.toContain('\u001b');
    expect(stdout).not.toContain(service.secretAccessKey);
  });

  test('a wrong secret and a wrong key are told apart, and Redis is looked at all the same', async () => {
    const redis = await redisWith();
    const env = onSharedBucket({ LANDFALL_REDIS_URL: redis.url });
    const { AWS_ACCESS_KEY_ID: _id, AWS_SECRET_ACCESS_KEY: _secret, ...none } = env;
    const [secret, key, missing] = await Promise.all([
      diagnose({ ...env, AWS_SECRET_ACCESS_KEY: 'not-the-secret' }),
      diagnose({ ...env, AWS_ACCESS_KEY_ID: 'nobody' }),
      diagnose({ ...none, HOME: spool }),
    ]);
    expect(secret.exitCode).toBe(1);
    expect(secret.of('reach')).toMatchObject([
      { level: 'fail', change: expect.stringContaining('AWS_SECRET_ACCESS_KEY') },
    ]);
    expect(secret.groups[1]?.skipped).toContain('conditions');
    expect(secret.of('eviction')).toMatchObject([{ level: 'ok' }]);
    expect(key.of('reach')).toMatchObject([{ level: 'fail', change: 'Check AWS_ACCESS_KEY_ID.' }]);
    expect(missing.of('reach')).toMatchObject([{ level: 'fail', text: 'No credentials were found.' }]);
  });

  test('a bucket that is not there, and a server that is not there', async () => {
    const bucket = await diagnose(onSharedBucket({ LANDFALL_S3_BUCKET: 'no-such-bucket' }));
    expect(bucket.exitCode).toBe(1);
    expect(bucket.of('reach')).toMatchObject([{ level: 'fail', text: 'There is no such bucket.' }]);
    const server = await diagnose(
      onSharedBucket({ LANDFALL_S3_ENDPOINT: `http://127.0.0.1:${await freePort()}` }),
    );
    expect(server.of('reach')).toMatchObject([
      { level: 'fail', text: expect.stringContaining('ECONNREFUSED') },
    ]);
  });

  test('a lifecycle rule that aborts uploads before they expire', async () => {
    const bucket = await newBucket();
    const abortAfter = (DaysAfterInitiation: number) =>
      shared.client.send(
        new PutBucketLifecycleConfigurationCommand({
          Bucket: bucket,
          LifecycleConfiguration: {
            Rules: [
              {
                ID: 'tidy',
                Status: 'Enabled',
                Filter: { Prefix: '' },
                AbortIncompleteMultipartUpload: { DaysAfterInitiation },
              },
            ],
          },
        }),
      );
    const env = onSharedBucket({ LANDFALL_S3_BUCKET: bucket, LANDFALL_EXPIRATION: '7d' });
    await abortAfter(1);
    const early = await diagnose(env);
    expect(early.exitCode).toBe(1);
    expect(early.of('lifecycle')).toMatchObject([
      {
        level: 'fail',
        text: expect.stringContaining('"tidy" aborts multipart uploads 1 day after'),
        change: expect.stringContaining('14 days'),
      },
    ]);
    await abortAfter(14);
    const checked = await lifecycleCheck(openProbe({ LANDFALL_S3_BUCKET: bucket }), 7 * DAY_MS).run();
    expect(checked).toMatchObject([{ level: 'ok' }]);
    await expectEmpty(bucket);
  });

  test('CORS rules: none, without ETag, and as they should be', async () => {
    const bucket = await newBucket();
    const allow = (ExposeHeaders: string[]) =>
      shared.client.send(
        new PutBucketCorsCommand({
          Bucket: bucket,
          CORSConfiguration: {
            CORSRules: [
              {
                AllowedOrigins: ['https://app.example'],
                AllowedMethods: ['PUT', 'GET', 'POST'],
                AllowedHeaders: ['*'],
                ExposeHeaders,
              },
            ],
          },
        }),
      );
    const check = corsCheck(openProbe({ LANDFALL_S3_BUCKET: bucket }), ['https://app.example']);
    const [none] = await check.run();
    expect(none).toMatchObject({ level: 'warn', text: 'The bucket has no CORS rules.' });
    expect(none?.change).toContain('"AllowedOrigins":["https://app.example"]');
    await allow(['Content-Length']);
    expect(await check.run()).toMatchObject([
      { level: 'warn', text: expect.stringContaining('do not expose ETag') },
    ]);
    await allow(['ETag']);
    expect(await check.run()).toMatchObject([{ level: 'ok' }]);
  });

  test('an address for browsers that leads nowhere', async () => {
    const endpoint = { LANDFALL_S3_PUBLIC_ENDPOINT: 'http://127.0.0.1:9' };
    const [finding] = await directCheck(openProbe(endpoint)).run();
    expect(finding).toMatchObject({ level: 'warn', text: expect.stringContaining('http://127.0.0.1:9') });
    expect(finding?.change).toContain('LANDFALL_S3_PUBLIC_ENDPOINT');
  });

  test('a bucket that keeps old versions', async () => {
    const bucket = await newBucket();
    await shared.client.send(
      new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: 'Enabled' } }),
    );
    const checked = await lifecycleCheck(openProbe({ LANDFALL_S3_BUCKET: bucket }), DAY_MS).run();
    expect(checked).toMatchObject([
      { level: 'ok' },
      { level: 'warn', text: expect.stringContaining('keeps old versions') },
    ]);
  });

  test('missing permissions, by the call that is refused; the doctor cleans up all the same', async () => {
    const proxy = await startS3FaultProxy(service.endpoint);
    cleanUps.push(() => proxy.close());
    const probe = openProbe({ LANDFALL_S3_ENDPOINT: proxy.endpoint });
    const refused = { kind: 'status', status: 403, when: 'before' } as const;
    proxy.fault = ({ operation }) => (operation === 'ListParts' ? refused : undefined);
    const noListing = await multipartCheck(probe).run();
    expect(noListing).toMatchObject([{ level: 'fail' }, { level: 'fail' }]);
    expect(noListing[0]?.change).toContain('s3:ListMultipartUploadParts');
    proxy.fault = ({ operation }) => (operation === 'UploadPartCopy' ? refused : undefined);
    expect(await multipartCheck(probe).run()).toMatchObject([{ level: 'ok' }, { level: 'warn' }]);
    // A signature in the query instead of a header.
    proxy.fault = ({ headers }) => (headers.authorization === undefined ? refused : undefined);
    expect(await presignedCheck(probe).run()).toMatchObject([
      { level: 'warn', text: expect.stringContaining('they go through this server') },
    ]);
    proxy.fault = undefined;
    expect(await probe.removeAll()).toEqual([]);
    await expectEmpty(service.bucket, shared.prefix);
  });

  test('previews: what a policy for originals alone refuses', async () => {
    const proxy = await startS3FaultProxy(service.endpoint);
    cleanUps.push(() => proxy.close());
    const probe = openProbe({ LANDFALL_S3_ENDPOINT: proxy.endpoint });
    const refused = { kind: 'status', status: 403, when: 'before' } as const;
    proxy.fault = ({ key }) => (key.includes('previews/') ? refused : undefined);
    expect(await objectsCheck(probe).run()).toMatchObject([{ level: 'ok' }]);
    expect(await previewsCheck(probe).run()).toMatchObject([
      { level: 'fail', text: expect.stringContaining('Storing a preview failed: access denied') },
    ]);
    proxy.fault = ({ operation }) => (operation === 'ListObjects' ? refused : undefined);
    expect(await previewsCheck(probe).run()).toMatchObject([
      { level: 'fail', change: expect.stringContaining('s3:ListBucket') },
    ]);
    proxy.fault = undefined;
    expect(await previewsCheck(probe).run()).toMatchObject([{ level: 'ok' }]);
    expect(await probe.removeAll()).toEqual([]);
    await expectEmpty(service.bucket, shared.prefix);
  });

  test('a bucket that ignores conditions, or honours them for one writer at a time only', async () => {
    const ignoring = openProbe();
    ignoring.client.middlewareStack.add(
      (next) => (args) => {
        const { headers } = args.request as { headers: Record<string, string> };
        delete headers['if-match'];
        delete headers['if-none-match'];
        return next(args);
      },
      { step: 'build', priority: 'low', name: 'ignoresConditions' },
    );
    const ignored = await conditionalCheck(ignoring).run();
    expect(ignored.map(({ level, text }) => `${level} ${text.slice(0, 41)}`)).toEqual([
      'fail The bucket ignores If-None-Match on PUT. ',
      'fail The bucket ignores If-Match on PUT. Two p',
    ]);
    expect(ignored[0]?.text).toContain('may end twice');

    const racing = openProbe();
    // Check, then write, with time in between: as if there were no lock around the two.
    const { port } = racing;
    const checkThenWrite = {
      ...port,
      async putObject(request: Parameters<typeof port.putObject>[0]) {
        const { ifMatch: _match, ifNoneMatch: _noneMatch, ...plain } = request;
        const there = await port.headObject(request.key).catch(() => undefined);
        if (request.ifNoneMatch !== undefined && there !== undefined) return port.putObject(request);
        if (request.ifMatch !== undefined && there?.etag !== request.ifMatch) return port.putObject(request);
        return port.putObject(plain);
      },
    };
    expect(await conditionalCheck({ ...racing, port: checkThenWrite }).run()).toMatchObject([
      { level: 'fail', text: expect.stringMatching(/of 4 at once [2-4] were told that they had won/) },
    ]);
  });

  test('listings that are late', async () => {
    const probe = openProbe();
    let last: Awaited<ReturnType<typeof probe.port.listObjects>> = {
      objects: [],
      prefixes: [],
      continuation: undefined,
    };
    const late = {
      ...probe.port,
      async listObjects(request: Parameters<typeof probe.port.listObjects>[0]) {
        const answer = last;
        last = await probe.port.listObjects(request);
        return answer;
      },
    };
    expect(await listingCheck({ ...probe, port: late }).run()).toMatchObject([
      { level: 'fail', text: expect.stringContaining('a new object was not listed') },
    ]);
  });
});

describe('the doctor, on Redis', { timeout: 60_000 }, () => {
  /** Without S3: only Redis is of interest, and the file store takes it (with a warning). */
  const onFiles = (url: string): Record<string, string> => ({
    LANDFALL_REDIS_URL: url,
    LANDFALL_DATA_DIR: join(spool, 'data'),
  });

  test('no persistence, snapshots only, an append-only file', async () => {
    const none = await redisWith();
    expect((await diagnose(onFiles(none.url))).of('persistence')).toMatchObject([
      { level: 'warn', text: expect.stringContaining('a restart empties Redis') },
    ]);
    await none.admin.config('SET', 'save', '3600 1');
    expect((await diagnose(onFiles(none.url))).of('persistence')).toMatchObject([
      { level: 'warn', text: expect.stringContaining('Only snapshots (save 3600 1)') },
    ]);
    await none.admin.config('SET', 'appendonly', 'yes');
    expect((await diagnose(onFiles(none.url))).of('persistence')).toMatchObject([
      { level: 'ok', text: expect.stringContaining('appendfsync everysec') },
    ]);
  });

  test('a Redis that is nearly full, and one that is full', async () => {
    const redis = await redisWith();
    // Made by the server itself: a client that sent as much would leave its buffers behind for a while.
    await redis.admin.eval("for i = 1, 1000 do redis.call('SET', i, string.rep('x', 10000)) end", 0);
    const used = Number(/used_memory:(\d+)/.exec(await redis.admin.info('memory'))?.[1]);
    await redis.admin.config('SET', 'maxmemory', Math.round(used / 0.85));
    expect((await diagnose(onFiles(redis.url))).of('memory')).toMatchObject([{ level: 'warn' }]);
    await redis.admin.config('SET', 'maxmemory', Math.round(used / 1.1));
    const full = await diagnose(onFiles(redis.url));
    expect(full.exitCode).toBe(1);
    expect(full.of('memory')).toMatchObject([
      { level: 'fail', text: expect.stringContaining('about to refuse writes') },
    ]);
    expect(full.of('commands')[0]).toMatchObject({ level: 'fail', text: expect.stringContaining('OOM') });
  });

  test('a wrong password, none, a replica, and nobody there', async () => {
    const master = await startRedis({ password: 'right' });
    cleanUps.push(() => master.stop());
    const at = `127.0.0.1:${master.port}`;
    const replica = await redisWith('--replicaof', '127.0.0.1', String(master.port), '--masterauth', 'right');
    await until(async () => (await replica.admin.info('replication')).includes('master_link_status:up'));
    // Each waits until it gives up: at the same time.
    const [wrong, none, nobody, second] = await Promise.all([
      diagnose(onFiles(`redis://:wrong@${at}`)),
      diagnose(onFiles(`redis://${at}`)),
      diagnose(onFiles(`redis://127.0.0.1:${await freePort()}`)),
      diagnose(onFiles(replica.url)),
    ]);
    expect(wrong.of('reach')[0]?.text).toContain('refuses the user or the password');
    expect(none.of('reach')[0]?.text).toContain('wants a password');
    expect(nobody.of('reach')[0]?.text).toContain('ECONNREFUSED');
    expect(nobody.exitCode).toBe(1);
    expect(second.of('topology')).toMatchObject([
      { level: 'fail', text: expect.stringContaining('replica') },
    ]);
  });

  test('a node of a Cluster behind the URL of a single server', async () => {
    const cluster = await startRedisCluster();
    cleanUps.push(() => cluster.stop());
    const single = await diagnose(onFiles(`redis://127.0.0.1:${cluster.nodes[0]?.port}`));
    expect(single.of('topology')).toMatchObject([
      { level: 'fail', change: expect.stringContaining('redis+cluster://') },
    ]);
    const found = await diagnose(onFiles(cluster.url));
    expect(found.of('topology')).toEqual([{ level: 'ok', text: 'A Cluster of 3 masters.' }]);
    expect(found.of('commands')).toMatchObject([{ level: 'ok' }]);
    for (const { admin } of cluster.nodes) expect(await admin.keys('*')).toEqual([]);
  });

  test('a user who may not send messages', async () => {
    const redis = await redisWith();
    await redis.admin.call('ACL', 'SETUSER', 'landfall', 'on', '>secret', '~*', 'resetchannels', '+@all');
    const found = await diagnose(onFiles(redis.url.replace('redis://', 'redis://landfall:secret@')));
    expect(found.of('commands')).toMatchObject([
      {
        level: 'fail',
        text: expect.stringContaining("can't publish"),
        change: expect.stringContaining('ACL SETUSER'),
      },
      { level: 'fail' },
      { level: 'fail', text: expect.stringContaining('Telling events') },
    ]);
    expect(await redis.admin.keys('*')).toEqual([]);
  });

  test('a user with the rights that the documentation lists, and the same without one of them', async () => {
    const redis = await redisWith();
    const rights = (await readFile('docs/redis.md', 'utf8')).match(/^ACL SETUSER landfall (.+)$/m)?.[1];
    expect(rights).toBe(`on >password ${neededRights('landfall')}`);
    const findingsOf = async (user: string, ...without: string[]) => {
      await redis.admin.call('ACL', 'SETUSER', user, ...(rights ?? '').split(' '), ...without);
      const url = redis.url.replace('redis://', `redis://${user}:password@`);
      const found = await diagnose({ ...onFiles(url), LANDFALL_DATA_DIR: join(spool, user) });
      return found.of('commands').map(({ level, text }) => `${level}: ${text}`);
    };
    const found = await Promise.all([
      findingsOf('landfall'),
      findingsOf('waits-for-nothing', '-bzpopmin'),
      findingsOf('reads-no-stream', '-xrange'),
    ]);
    expect(found).toEqual([
      [expect.stringMatching(/^ok: .*records, jobs and events work/)],
      [expect.stringMatching(/^fail: Doing jobs does not work: .*bzpopmin/)],
      [expect.stringMatching(/^fail: Telling events does not work: .*xrange/)],
    ]);
    expect(await redis.admin.keys('*')).toEqual([]);
  });
});

describe('the doctor, on files', { timeout: 60_000 }, () => {
  test('a directory that can be used, and is gone again afterwards', async () => {
    const dataDir = join(spool, 'new/data');
    const found = await diagnose({ LANDFALL_DATA_DIR: dataDir });
    expect(found.exitCode).toBe(0);
    expect(found.troubles()).toEqual([]);
    expect(found.groups[1]?.checks.map(({ name }) => name)).toEqual([
      'writable',
      'space',
      'rename',
      'fsync',
      'SQLite',
    ]);
    expect(existsSync(join(spool, 'new'))).toBe(false);
  });

  test('one that cannot, one in memory, and one with too little room', async () => {
    const none = await diagnose({ LANDFALL_DATA_DIR: '/dev/null/landfall' });
    expect(none.exitCode).toBe(1);
    expect(none.of('writable')).toMatchObject([
      { level: 'fail', change: expect.stringContaining('LANDFALL_DATA_DIR') },
    ]);
    const inMemory = await diagnose({
      LANDFALL_DATA_DIR: `/dev/shm/landfall-doctor-test-${randomBytes(4).toString('hex')}`,
    });
    expect(inMemory.of('writable')).toMatchObject([
      { level: 'warn', text: expect.stringContaining('tmpfs') },
    ]);
    const small = await diagnose({ LANDFALL_DATA_DIR: spool, LANDFALL_MAX_SIZE: '1000TiB' });
    expect(small.of('space')).toMatchObject([
      { level: 'warn', text: expect.stringContaining('LANDFALL_MAX_SIZE') },
    ]);
  });
});

test('a wrong configuration ends with 78 and is told as the server tells it', async () => {
  const { exitCode, stdout, stderr } = await runDoctor({ LANDFALL_STORE: 's3', LANDFALL_PROCESSES: '2' });
  expect({ exitCode, stdout }).toEqual({ exitCode: 78, stdout: '' });
  expect(stderr).toContain('LANDFALL_S3_BUCKET');
  const json = await runDoctor({ LANDFALL_STORE: 's3' }, ['--json']);
  expect(json.exitCode).toBe(78);
  expect(JSON.parse(json.stdout)).toMatchObject({ exitCode: 78, problems: [{ name: 'LANDFALL_S3_BUCKET' }] });
  expect((await runDoctor({}, ['--jsn'])).exitCode).toBe(78);
});

/** One bucket under examination, in this process. */
function openProbe(more: Record<string, string> = {}): S3Probe {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...env } = onSharedBucket(more);
  Object.assign(process.env, { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY });
  const { s3 } = loadConfig({ env, cwd: spool });
  if (s3 === undefined) throw new Error('no S3 in the configuration');
  const probe = openS3Probe(s3, s3.bucket);
  cleanUps.push(() => probe.removeAll());
  return probe;
}
