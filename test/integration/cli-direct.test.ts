import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type CliHome, createCliHome, type UploadReport } from '../support/cli.ts';
import { call, callPath, recordOf } from '../support/direct.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* `landfall upload --direct` against a real bucket; what a client sends itself goes through a proxy that counts. */

const MIB = 1024 ** 2;
const content = randomBytesOf('cli-direct', 23 * MIB);
const contentSha256 = sha256Hex(content);

let bucket: TestBucket;
let proxy: S3FaultProxy;
let server: RunningServer;
let home: CliHome;

/** Parts that clients have put into the bucket since the last time. */
const partsSent = () =>
  proxy.calls
    .splice(0)
    .filter(({ operation, status }) => operation === 'UploadPart' && status === 200)
    .map(({ partNumber }) => partNumber)
    .sort();

beforeAll(async () => {
  bucket = openTestBucket(inject('s3'));
  proxy = await startS3FaultProxy(inject('s3').endpoint);
  server = await startServer({
    env: { ...s3Environment(inject('s3'), bucket), LANDFALL_S3_PUBLIC_ENDPOINT: proxy.endpoint },
  });
  home = await createCliHome({ LANDFALL_URL: server.origin });
  await writeFile(join(home.directory, 'big.bin'), content);
  await writeFile(join(home.directory, 'note.txt'), 'hello');
  await writeFile(join(home.directory, 'nothing'), '');
});
afterAll(async () => {
  await server?.stop();
  await proxy?.close();
  await bucket?.close();
  await home?.remove();
});
afterEach(() => {
  proxy.fault = undefined;
  partsSent();
});

async function expectStored(id: string): Promise<void> {
  await expect.poll(async () => (await recordOf(server, id)).state, { timeout: 10_000 }).toBe('ready');
  const reply = await request('GET', `${server.filesUrl}/${id}`);
  expect([reply.status, sha256Hex(reply.body)]).toEqual([200, contentSha256]);
}

async function openUploads(): Promise<number> {
  const reply = await request('GET', `${server.origin}/uploads?state=receiving`);
  return (JSON.parse(reply.body.toString()) as { uploads: unknown[] }).uploads.length;
}

describe('landfall upload --direct', () => {
  test('sends all bytes to the bucket, and has the server verify them', async () => {
    const args = ['upload', '--direct', '--checksum', 'sha256', 'big.bin', 'note.txt'];
    const { code, value } = await home.json<UploadReport>(args);
    expect([code, value.uploads.map(({ ok }) => ok)]).toEqual([0, [true, true]]);
    // 8 + 8 + 7 MiB, and five bytes.
    expect(partsSent()).toEqual([1, 1, 2, 3]);
    await expectStored(value.uploads[0]?.id as string);
    expect(await recordOf(server, value.uploads[0]?.id as string)).toMatchObject({
      filename: 'big.bin',
      declaredSha256: contentSha256,
      sha256: contentSha256,
    });
    expect((await request('GET', value.uploads[1]?.url as string)).body.toString()).toBe('hello');
  });

  test('goes on after kill -9 with the parts that are missing', async () => {
    const args = ['upload', '--direct', 'big.bin', '--chunk-size', '5MiB', '--parallel', '1'];
    const cli = home.start([...args, '--limit-rate', '8MB/s']);
    await expect
      .poll(() => proxy.calls.filter(({ status }) => status === 200).length, { timeout: 10_000 })
      .toBe(2);
    cli.child.kill('SIGKILL');
    await cli.done;
    expect(partsSent()).toEqual([1, 2]);
    const { code, value } = await home.json<UploadReport>(['resume', 'big.bin']);
    expect([code, value.uploads[0]?.resumedBytes]).toEqual([0, 10 * MIB]);
    expect(partsSent()).toEqual([3, 4, 5]);
    await expectStored(value.uploads[0]?.id as string);
  });

  test('sends a part again that the bucket refused, or whose connection broke', async () => {
    const failing = new Map([
      [2, { kind: 'status', status: 503, when: 'before' } as const],
      [3, { kind: 'reset', when: 'after' } as const],
    ]);
    proxy.fault = ({ partNumber = 0 }) => {
      const fault = failing.get(partNumber);
      failing.delete(partNumber);
      return fault;
    };
    const { code, value } = await home.json<UploadReport>([
      'upload',
      '--direct',
      'big.bin',
      '--checksum',
      'sha256',
    ]);
    expect(code).toBe(0);
    expect(failing.size).toBe(0);
    await expectStored(value.uploads[0]?.id as string);
  });

  test('sends again what the bucket has otherwise than it was sent', async () => {
    const args = ['upload', '--direct', 'big.bin', '--chunk-size', '5MiB', '--parallel', '1', '--json'];
    const cli = home.start([...args, '--limit-rate', '8MB/s']);
    await expect
      .poll(() => proxy.calls.filter(({ status }) => status === 200).length, { timeout: 10_000 })
      .toBe(2);
    const [name = ''] = (await readdir(home.stateDir)).filter((each) => each.endsWith('.json'));
    const { direct } = JSON.parse(await readFile(join(home.stateDir, name), 'utf8')) as {
      direct: { token: string; key: string };
    };
    const path = callPath({ uploadId: direct.token, key: direct.key }, '/1');
    const { url } = (await call<{ url: string }>(server, 'GET', path)).body;
    expect((await fetch(url, { method: 'PUT', body: Buffer.alloc(5 * MIB) })).status).toBe(200);
    const { code, stdout } = await cli.done;
    expect(code).toBe(0);
    expect(partsSent()).toEqual([1, 1, 1, 2, 3, 4, 5]);
    await expectStored((JSON.parse(stdout) as UploadReport).uploads[0]?.id as string);
  });

  test('goes through the server by itself where the bucket cannot be reached, and leaves nothing open', async () => {
    proxy.fault = () => ({ kind: 'status', status: 403, when: 'before' });
    const { code, stdout, stderr } = await home.run(['upload', '--direct', 'big.bin', '--retry-for', '1s']);
    expect(code).toBe(0);
    expect(stderr).toContain(
      'big.bin: goes through the server, not straight to the bucket: the bucket answered 403',
    );
    await expectStored(/\/files\/(\S+)/.exec(stdout)?.[1] as string);
    expect(await openUploads()).toBe(0);
  });

  test('goes through the server where there is no bucket, and with what has no parts', async () => {
    const files = await startServer();
    try {
      const other = await home.run(['upload', '--direct', 'big.bin', '--server', files.origin]);
      expect(other.code).toBe(0);
      expect(other.stderr).toContain('the server takes no direct uploads');
    } finally {
      await files.stop();
    }
    const empty = await home.run(['upload', '--direct', 'nothing']);
    expect([empty.code, empty.stderr]).toMatchObject([
      0,
      expect.stringContaining('an empty file has no parts'),
    ]);
    expect(partsSent()).toEqual([]);
  });

  test('can be given up', async () => {
    const args = ['upload', '--direct', 'big.bin', '--chunk-size', '5MiB', '--parallel', '1'];
    const cli = home.start([...args, '--limit-rate', '8MB/s']);
    await expect
      .poll(() => proxy.calls.filter(({ status }) => status === 200).length, { timeout: 10_000 })
      .toBe(1);
    cli.child.kill('SIGINT');
    expect((await cli.done).code).toBe(130);
    expect(await openUploads()).toBe(1);
    expect((await home.run(['abort', 'big.bin'])).code).toBe(0);
    expect(await openUploads()).toBe(0);
    expect((await home.json<{ uploads: unknown[] }>(['list', '--unfinished'])).value.uploads).toEqual([]);
  });
});
