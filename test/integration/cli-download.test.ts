import { once } from 'node:events';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { upload } from '../../client/index.ts';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type CliHome, createCliHome } from '../support/cli.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload } from '../support/tus.ts';

const MB = 1000 ** 2;
const content = randomBytesOf('cli-download', 8 * MB);
const contentSha256 = sha256Hex(content);

let server: RunningServer;
let home: CliHome;
/** Verified when it came: the server knows its SHA-256. */
let id: string;
/** Nobody has said what its SHA-256 is. */
let unverifiedId: string;

beforeAll(async () => {
  server = await startServer();
  const options = { server: server.origin, metadata: { filename: 'disk image.bin' } };
  ({ id } = await upload(content, { ...options, checksum: 'sha256' }));
  ({ id: unverifiedId } = await upload(content, options));
});
afterAll(() => server.stop());
beforeEach(async () => {
  home = await createCliHome({ LANDFALL_URL: server.origin });
});
afterEach(() => home.remove());

interface Report {
  path: string;
  size: number;
  sha256: string;
  isVerified: boolean;
  resumedBytes: number;
}

const inHome = (name: string) => join(home.directory, name);
const names = async () => (await readdir(home.directory)).sort();

describe('landfall download', () => {
  test('saves under its own name what was uploaded, and replaces nothing unasked', async () => {
    const { code, stdout } = await home.run(['download', id]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^✓ disk image\\.bin {2}8\\.00 MB in .* sha256 ${contentSha256}\n$`));
    expect(sha256Hex(await readFile(inHome('disk image.bin')))).toBe(contentSha256);
    expect(await names()).toEqual(['disk image.bin']);

    await writeFile(inHome('disk image.bin'), 'precious');
    const refused = await home.run(['download', id]);
    expect([refused.code, await readFile(inHome('disk image.bin'), 'utf8')]).toEqual([2, 'precious']);
    expect(refused.stderr).toContain('is there already');
    expect((await home.run(['download', id, '--force'])).code).toBe(0);
    expect(sha256Hex(await readFile(inHome('disk image.bin')))).toBe(contentSha256);
  });

  test('says when nothing is known to compare the bytes with', async () => {
    const { code, value } = await home.json<Report>(['download', unverifiedId, '-o', 'x']);
    expect([code, value]).toMatchObject([
      0,
      { isVerified: false, sha256: contentSha256, size: content.length },
    ]);
  });

  test('-o -: to the standard output, and nothing else there', async () => {
    const cli = home.start(['download', id, '-o', '-']);
    const chunks: Buffer[] = [];
    cli.child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
    expect((await cli.done).code).toBe(0);
    expect(sha256Hex(Buffer.concat(chunks))).toBe(contentSha256);
    expect(await names()).toEqual([]);
  });

  test('an upload that is not there is exit code 6, one that is not complete 1', async () => {
    const { code, stderr } = await home.run(['download', 'A'.repeat(32)]);
    expect(code).toBe(6);
    expect(stderr).toContain('(upload_not_found)');
    const url = await createUpload(server.filesUrl, 5);
    const unfinished = await home.run(['download', url]);
    expect([unfinished.code, unfinished.stderr]).toEqual([1, 'landfall: it is not complete yet\n']);
    expect(await names()).toEqual([]);
  });
});

describe('--preview', () => {
  test('saves the best preview under a name of its own, as soon as it was made', async () => {
    const picture = await sharp({ create: { width: 2400, height: 1600, channels: 3, background: '#369' } })
      .jpeg()
      .toBuffer();
    const metadata = { filename: 'holiday.jpg' };
    const { id: pictureId } = await upload(picture, { server: server.origin, metadata });
    expect((await home.run(['download', pictureId, '--preview'])).code).toBe(0);
    expect(await names()).toEqual(['holiday-preview.webp']);
    expect(await sharp(inHome('holiday-preview.webp')).metadata()).toMatchObject({
      format: 'webp',
      width: 1800,
      height: 1200,
    });
  });

  test('says why there is none', async () => {
    const { code, stderr } = await home.run(['download', id, '--preview', '-o', 'x']);
    expect([code, await names()]).toEqual([1, []]);
    expect(stderr).toContain('there is no preview of it');
  });
});

describe('a download that was interrupted', () => {
  async function interrupt(args: readonly string[]): Promise<number> {
    const cli = home.start([...args, '--limit-rate', '2MB/s']);
    const sizeOf = () =>
      stat(inHome('x.part')).then(
        ({ size }) => size,
        () => 0,
      );
    while ((await sizeOf()) < MB) {
      if (cli.child.exitCode !== null) throw new Error(`it ended: ${JSON.stringify(await cli.done)}`);
      await sleep(20);
    }
    cli.child.kill('SIGKILL');
    await cli.done;
    return sizeOf();
  }

  test('goes on where it was', async () => {
    const got = await interrupt(['download', id, '-o', 'x']);
    const { code, value } = await home.json<Report>(['download', id, '-o', 'x']);
    expect([code, value]).toMatchObject([0, { resumedBytes: got, sha256: contentSha256, isVerified: true }]);
    expect(sha256Hex(await readFile(inHome('x')))).toBe(contentSha256);
    expect(await names()).toEqual(['x']);
  });

  test('whose bytes were damaged meanwhile is found out, and fetched again', async () => {
    await interrupt(['download', id, '-o', 'x']);
    const part = await readFile(inHome('x.part'));
    part[12_345] = (part[12_345] as number) ^ 1;
    await writeFile(inHome('x.part'), part);
    const { code, stderr } = await home.run(['download', id, '-o', 'x']);
    expect(code).toBe(0);
    expect(stderr).toContain('what was put together is not what the server has');
    expect(sha256Hex(await readFile(inHome('x')))).toBe(contentSha256);
  });

  test('is not mixed with another upload', async () => {
    await interrupt(['download', id, '-o', 'x']);
    const { code, value } = await home.json<Report>(['download', unverifiedId, '-o', 'x']);
    expect([code, value]).toMatchObject([0, { resumedBytes: 0, sha256: contentSha256 }]);
    expect(sha256Hex(await readFile(inHome('x')))).toBe(contentSha256);
  });
});

describe('what is in front of the server', () => {
  /** Passes answers to GET on after something was done to them. */
  async function startProxy(
    pass: (bytes: Buffer, req: http.IncomingMessage, res: http.ServerResponse) => void,
  ) {
    const proxy = http.createServer((req, res) => {
      const { method, url, headers } = req;
      const to = new URL(server.origin);
      const onward = http.request(
        { port: to.port, host: to.hostname, method, path: url, headers },
        (reply) => {
          const chunks: Buffer[] = [];
          reply.on('data', (chunk: Buffer) => chunks.push(chunk));
          reply.on('end', () => {
            res.writeHead(reply.statusCode as number, reply.headers);
            const bytes = Buffer.concat(chunks);
            if (url?.startsWith('/files/')) pass(bytes, req, res);
            else res.end(bytes);
          });
        },
      );
      req.pipe(onward);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    return { proxy, origin: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
  }

  test('may cut the connection: the rest is asked for by a range', async () => {
    const ranges: (string | undefined)[] = [];
    const { proxy, origin } = await startProxy((bytes, { headers }, res) => {
      ranges.push(headers.range);
      if (ranges.length > 2) res.end(bytes);
      else res.write(bytes.subarray(0, 3 * MB), () => res.destroy());
    });
    try {
      const { code } = await home.run(['download', id, '-o', 'x', '--server', origin]);
      expect(code).toBe(0);
      expect(sha256Hex(await readFile(inHome('x')))).toBe(contentSha256);
      expect([ranges.length, ranges[0]]).toEqual([3, undefined]);
      const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1]));
      expect(starts[0]).toBeGreaterThan(0);
      expect(starts[1]).toBeGreaterThan(starts[0] as number);
    } finally {
      proxy.close();
    }
  });

  test('may damage a range: what was put together is fetched again, as a whole', async () => {
    const ranges: (string | undefined)[] = [];
    const { proxy, origin } = await startProxy((bytes, { headers }, res) => {
      ranges.push(headers.range);
      if (ranges.length === 1) {
        res.write(bytes.subarray(0, 3 * MB), () => res.destroy());
        return;
      }
      if (headers.range !== undefined) bytes[99] = (bytes[99] as number) ^ 1;
      res.end(bytes);
    });
    try {
      const { code, stderr } = await home.run(['download', id, '-o', 'x', '--server', origin]);
      expect([code, stderr]).toMatchObject([0, expect.stringContaining('all of it is fetched again')]);
      expect(ranges.map((range) => range !== undefined)).toEqual([false, true, false]);
      expect(sha256Hex(await readFile(inHome('x')))).toBe(contentSha256);
    } finally {
      proxy.close();
    }
  });

  test('that damages everything is exit code 5, and leaves no file', async () => {
    const { proxy, origin } = await startProxy((bytes, _req, res) => {
      bytes[99] = (bytes[99] as number) ^ 1;
      res.end(bytes);
    });
    try {
      const { code, stderr } = await home.run(['download', id, '-o', 'x', '--server', origin]);
      expect(code).toBe(5);
      expect(stderr).toContain(`instead of ${contentSha256}`);
      expect(await names()).toEqual([]);
    } finally {
      proxy.close();
    }
  });
});
