import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createSmallDisk, type SmallDisk, smallDiskKinds } from '../support/small-disk.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';
import { randomBytesOf, sha256Hex } from './random.ts';

/* The disk is full in the middle of an upload: nothing is lost, nothing is claimed, and it goes on once there is room. */

const DISK_BYTES = 6 * 1024 * 1024;
const SIZE = 12 * 1024 * 1024;
const content = randomBytesOf('disk full', SIZE);

let disk: SmallDisk;
let server: RunningServer;

async function storedNames(): Promise<string[]> {
  return readdir(join(disk.path, 'uploads'));
}

function idOf(url: string): string {
  return url.slice(url.lastIndexOf('/') + 1);
}

describe.each(smallDiskKinds())('%s', (kind) => {
  beforeEach(async () => {
    disk = await createSmallDisk(kind, DISK_BYTES);
    server = await startServer({ dataDir: disk.path });
    await disk.limit(server.pid);
  });

  afterEach(async () => {
    await server.stop('SIGKILL');
    await disk.remove();
  });

  test('a PATCH that does not fit is 507, keeps what did fit, and is resumed when there is room', async () => {
    const url = await createUpload(server.filesUrl, SIZE);
    const first = await patch(url, 0, content.subarray(0, 1_000_000));
    expect(first.status).toBe(204);

    const refused = await patch(url, 1_000_000, content.subarray(1_000_000));
    expect(refused.status).toBe(507);
    expect(refused.headers['landfall-error']).toBe('storage_full');
    expect(refused.headers['retry-after']).toBe('60');
    expect(refused.headers['upload-offset']).toBeUndefined();
    expect(refused.body.toString()).toBe('The storage is full.\n');

    const { status, headers } = await head(url);
    expect(status).toBe(200);
    const offset = Number(headers['upload-offset']);
    expect(offset).toBeGreaterThan(3_000_000);
    expect(offset).toBeLessThanOrEqual(DISK_BYTES);
    const stored = await readFile(join(disk.path, 'uploads', idOf(url)));
    expect(stored.equals(content.subarray(0, offset))).toBe(true);

    // Trying again changes nothing while the disk is full.
    expect((await patch(url, offset, content.subarray(offset))).status).toBe(507);
    const offsetAfter = Number((await head(url)).headers['upload-offset']);
    expect(offsetAfter).toBeGreaterThanOrEqual(offset);

    await disk.makeRoom(server.pid);
    const last = await patch(url, offsetAfter, content.subarray(offsetAfter));
    expect(last.status).toBe(204);
    expect(last.headers['upload-offset']).toBe(String(SIZE));
    const served = await request('GET', url);
    expect(served.status).toBe(200);
    expect(sha256Hex(served.body)).toBe(sha256Hex(content));
    // What the catalog could not write is reported once; then all is well.
    await until(async () => (await request('GET', `${server.origin}/health/ready`)).status === 200);
    const listed = JSON.parse((await request('GET', `${server.origin}/uploads`)).body.toString());
    expect(listed.uploads).toMatchObject([{ id: idOf(url), state: 'ready', size: SIZE }]);
  });

  test('a creation with data that does not fit is 507 and leaves nothing behind', async () => {
    const before = await storedNames();
    const headers = { ...TUS, ...PATCH_TYPE, 'Upload-Length': String(SIZE) };
    const refused = await request('POST', server.filesUrl, headers, content);
    expect(refused.status).toBe(507);
    expect(refused.headers.location).toBeUndefined();
    expect(await storedNames()).toEqual(before);
    // The space is free again.
    const url = await createUpload(server.filesUrl, 1_000_000);
    expect((await patch(url, 0, content.subarray(0, 1_000_000))).status).toBe(204);
    const listed = JSON.parse((await request('GET', `${server.origin}/uploads`)).body.toString());
    expect(listed.uploads).toMatchObject([{ id: idOf(url), state: 'ready' }]);
  });

  test('a server that is killed and started on the full disk tells the same offset, and serves', async () => {
    const finished = await createUpload(server.filesUrl, 1_000);
    expect((await patch(finished, 0, content.subarray(0, 1_000))).status).toBe(204);
    const url = await createUpload(server.filesUrl, SIZE);
    expect((await patch(url, 0, content)).status).toBe(507);
    const offset = (await head(url)).headers['upload-offset'];
    const port = Number(new URL(server.origin).port);

    await server.stop('SIGKILL');
    server = await startServer({ dataDir: disk.path, port });
    await disk.limit(server.pid);
    expect((await head(url)).headers['upload-offset']).toBe(offset);
    expect((await request('GET', finished)).body.equals(content.subarray(0, 1_000))).toBe(true);
    expect((await patch(url, Number(offset), content.subarray(Number(offset)))).status).toBe(507);

    await disk.makeRoom(server.pid);
    const now = Number((await head(url)).headers['upload-offset']);
    expect((await patch(url, now, content.subarray(now))).status).toBe(204);
    expect(sha256Hex((await request('GET', url)).body)).toBe(sha256Hex(content));
  });
});
