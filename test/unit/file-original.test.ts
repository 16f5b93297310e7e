import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import { mkdtemp, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { buffer as collect } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFileOriginal } from '../../stores/file/file-original.ts';
import { createReadBuffers } from '../../stores/file/read-buffers.ts';
import { connectRaw } from '../support/raw-http.ts';

const SIZE = 5 * 1024 * 1024 + 12_345;
const original = randomBytes(SIZE);
let directory: string;
let path: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-original-'));
  path = join(directory, 'original');
  await writeFile(path, original);
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

/** Descriptors of this process that are open on `file`. */
async function openDescriptors(file: string): Promise<number> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return links.filter((link) => link === file || link === `${file} (deleted)`).length;
}

/** A pair of connected sockets: what one writes, the other reads. */
async function socketPair(): Promise<{ ours: Socket; theirs: Socket; close(): Promise<void> }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const theirs = await connectRaw((server.address() as AddressInfo).port);
  const [ours] = await accepted;
  ours.on('error', () => {});
  return {
    ours,
    theirs,
    async close() {
      ours.destroy();
      theirs.destroy();
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}

describe('openFileOriginal', () => {
  it('tells size, tag, date and path', async () => {
    const reader = await openFileOriginal({ path, etag: 'abc' });
    const { mtimeMs } = fs.statSync(path);
    expect(reader).toMatchObject({ size: SIZE, etag: 'abc', path, modifiedAtMs: Math.floor(mtimeMs) });
    await reader.close();
    const dated = await openFileOriginal({ path, etag: 'abc', modifiedAtMs: 5, size: SIZE });
    expect(dated.modifiedAtMs).toBe(5);
    await dated.close();
  });

  it('reports what cannot be opened, and leaks no descriptor', async () => {
    const open = (at: string, size?: number) =>
      openFileOriginal({ path: at, etag: 'x', ...(size === undefined ? {} : { size }) });
    await expect(open(join(directory, 'nothing'))).rejects.toMatchObject({ code: 'upload_not_found' });
    await expect(open(join(path, 'below'))).rejects.toMatchObject({ code: 'upload_not_found' });
    await expect(open(directory)).rejects.toMatchObject({ code: 'upload_damaged' });
    await expect(open(path, SIZE + 1)).rejects.toMatchObject({ code: 'upload_damaged' });
    await expect(open(join(directory, 'n'.repeat(300)))).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await openDescriptors(path)).toBe(0);
    expect(await openDescriptors(directory)).toBe(0);
  });

  it('serves a file that is unlinked meanwhile', async () => {
    const doomed = join(directory, 'doomed');
    await writeFile(doomed, original);
    const reader = await openFileOriginal({ path: doomed, etag: 'x' });
    await rm(doomed);
    const target = new PassThrough();
    const received = collect(target);
    await reader.send(target, 0, SIZE - 1);
    target.end();
    expect((await received).equals(original)).toBe(true);
    await reader.close();
    expect(await openDescriptors(doomed)).toBe(0);
  });
});

describe('send', () => {
  it.each([
    [0, SIZE - 1],
    [0, 0],
    [SIZE - 1, SIZE - 1],
    [65_535, 65_536],
    [1, 64 * 1024],
    [1, 64 * 1024 + 1],
    [512 * 1024 - 1, 3 * 512 * 1024],
    [4_000_001, SIZE - 2],
  ])('sends bytes %i to %i through a socket', async (start, end) => {
    const reader = await openFileOriginal({ path, etag: 'x', buffers: createReadBuffers() });
    const pair = await socketPair();
    const received = collect(pair.theirs);
    await reader.send(pair.ours, start, end);
    pair.ours.end();
    expect((await received).equals(original.subarray(start, end + 1))).toBe(true);
    await reader.close();
    await pair.close();
  });

  it('never changes chunks that a target keeps', async () => {
    const reader = await openFileOriginal({ path, etag: 'x', buffers: createReadBuffers() });
    const kept: Buffer[] = [];
    const keeper = new Writable({
      write(chunk: Buffer, _encoding, callback) {
        kept.push(chunk);
        callback();
      },
    });
    await reader.send(keeper, 0, SIZE - 1);
    expect(Buffer.concat(kept).equals(original)).toBe(true);
    await reader.close();
  });

  it('writes a file', async () => {
    const reader = await openFileOriginal({ path, etag: 'x' });
    const copy = join(directory, 'copy');
    const target = fs.createWriteStream(copy);
    await reader.send(target, 0, SIZE - 1);
    target.end();
    await once(target, 'close');
    expect(fs.readFileSync(copy).equals(original)).toBe(true);
    await reader.close();
  });

  it('reads a small original once and writes it once', async () => {
    const small = join(directory, 'small');
    await writeFile(small, original.subarray(0, 64 * 1024));
    const reader = await openFileOriginal({ path: small, etag: 'x' });
    const chunks: Buffer[] = [];
    const target = new Writable({
      write(chunk: Buffer, _encoding, callback) {
        chunks.push(chunk);
        callback();
      },
    });
    await reader.send(target, 0, reader.size - 1);
    expect(chunks.map((chunk) => chunk.length)).toEqual([64 * 1024]);
    await reader.close();
  });

  it('waits for a slow target: two chunks on the way, not more', async () => {
    const reader = await openFileOriginal({ path, etag: 'x' });
    const chunks: Buffer[] = [];
    let waiting: (() => void) | undefined;
    const target = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, callback) {
        chunks.push(chunk);
        waiting = callback;
      },
    });
    const sent = reader.send(target, 0, SIZE - 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(chunks.length).toBe(1);
    // One with the target, one queued in front of it.
    expect(target.writableLength).toBe(2 * 512 * 1024);
    let isSent = false;
    void sent.then(() => {
      isSent = true;
    });
    while (!isSent) {
      const resume = waiting;
      waiting = undefined;
      resume?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(Buffer.concat(chunks).equals(original)).toBe(true);
    await reader.close();
  });

  it('resolves at once when the target closes or is closed, and stops reading', async () => {
    const buffers = createReadBuffers({ largeCount: 2 });
    const reader = await openFileOriginal({ path, etag: 'x', buffers });
    const pair = await socketPair();
    pair.theirs.pause();
    const big = join(directory, 'sparse');
    await writeFile(big, '');
    await truncate(big, 2 ** 33);
    const bigReader = await openFileOriginal({ path: big, etag: 'x', buffers });
    const sent = bigReader.send(pair.ours, 0, 2 ** 33 - 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    pair.ours.destroy();
    await sent;
    await bigReader.close();
    expect(await openDescriptors(big)).toBe(0);

    await reader.send(pair.ours, 0, SIZE - 1);
    await reader.close();
    await pair.close();
    // The dead send gave its share back.
    expect(buffers.take(100_000, false)?.length).toBe(512 * 1024);
    expect(buffers.take(100_000, false)?.length).toBe(512 * 1024);
    expect(buffers.take(100_000, false)?.length).toBe(64 * 1024);
  });

  it('resolves when the target refuses a write', async () => {
    const reader = await openFileOriginal({ path, etag: 'x' });
    const target = new Writable({
      autoDestroy: false,
      write(_chunk, _encoding, callback) {
        callback(new Error('no'));
      },
    });
    const failed = once(target, 'error').catch((error: unknown) => error);
    await reader.send(target, 0, SIZE - 1);
    await failed;
    await reader.close();
  });

  it('rejects when the file is shorter than it was', async () => {
    const shrinking = join(directory, 'shrinking');
    await writeFile(shrinking, original);
    const reader = await openFileOriginal({ path: shrinking, etag: 'x' });
    await truncate(shrinking, 700_000);
    const target = new PassThrough().resume();
    await expect(reader.send(target, 0, SIZE - 1)).rejects.toMatchObject({ code: 'upload_damaged' });
    await expect(reader.send(target, 699_999, 699_999)).resolves.toBeUndefined();
    await reader.close();
  });

  it('rejects ranges that are not within the original', async () => {
    const reader = await openFileOriginal({ path, etag: 'x' });
    const target = new PassThrough();
    for (const [start, end] of [
      [-1, 5],
      [5, 4],
      [0, SIZE],
      [0.5, 2],
      [Number.NaN, 2],
    ] as const) {
      await expect(reader.send(target, start, end)).rejects.toThrow(RangeError);
    }
    await reader.close();
  });

  it('rejects with the reason of the signal, before and in the middle', async () => {
    const reader = await openFileOriginal({ path, etag: 'x' });
    const reason = new Error('enough');
    const target = new Writable({ highWaterMark: 1, write() {} });
    await expect(reader.send(target, 0, 5, AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const sent = reader.send(target, 0, SIZE - 1, controller.signal);
    setTimeout(() => controller.abort(reason), 20);
    await expect(sent).rejects.toBe(reason);
    expect(target.listenerCount('close')).toBe(0);
    await reader.close();
  });

  it('ends running sends on close, which is safe to call twice', async () => {
    const reader = await openFileOriginal({ path, etag: 'x' });
    const stuck = new Writable({ highWaterMark: 1, write() {} });
    const flowing = new PassThrough().resume();
    const sends = [
      reader.send(stuck, 0, SIZE - 1),
      // Its first read is in flight when close() comes.
      reader.send(flowing, 0, SIZE - 1),
    ];
    const results = Promise.allSettled(sends);
    await Promise.all([reader.close(), reader.close()]);
    expect(await openDescriptors(path)).toBe(0);
    for (const result of await results) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } });
    }
    await reader.close();
    await expect(reader.send(flowing, 0, 1)).rejects.toMatchObject({ code: 'store_unavailable' });
  });

  it('keeps 60 concurrent sends apart while memory is short', async () => {
    const buffers = createReadBuffers({ largeCount: 4, smallKept: 4 });
    const digest = createHash('sha256').update(original).digest('hex');
    await Promise.all(
      Array.from({ length: 60 }, async () => {
        const reader = await openFileOriginal({ path, etag: 'x', buffers });
        const pair = await socketPair();
        const hash = createHash('sha256');
        pair.theirs.on('data', (chunk) => hash.update(chunk));
        const ended = once(pair.theirs, 'end');
        await reader.send(pair.ours, 0, SIZE - 1);
        await reader.close();
        pair.ours.end();
        await ended;
        expect(hash.digest('hex')).toBe(digest);
        await pair.close();
      }),
    );
    expect(await openDescriptors(path)).toBe(0);
  });
});

describe('createReadBuffers', () => {
  it('hands out at most its large buffers, the second half without read-ahead', () => {
    const buffers = createReadBuffers({ largeCount: 2, smallKept: 1 });
    const first = buffers.take(1_000_000, false);
    expect(first?.length).toBe(512 * 1024);
    expect(buffers.take(1_000_000, true)).toBeUndefined();
    expect(buffers.take(1_000_000, false)?.length).toBe(512 * 1024);
    expect(buffers.take(1_000_000, false)?.length).toBe(64 * 1024);
    if (first === undefined) throw new Error('no buffer');
    buffers.give(first);
    expect(buffers.take(1_000_000, false)).toBe(first);
    // Dropped memory never comes back, its place does.
    buffers.drop(first);
    const next = buffers.take(1_000_000, false);
    expect(next?.length).toBe(512 * 1024);
    expect(next).not.toBe(first);
  });
});
