import { once } from 'node:events';
import { readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { upload } from '../../client/index.ts';
import { quietPort } from '../faults/file-topology.ts';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type CliHome, createCliHome, type RunningCli, type UploadReport } from '../support/cli.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* Interrupted in every way there is, and gone on with. */

const MB = 1000 ** 2;
const content = randomBytesOf('cli-resume', 12 * MB);
const contentSha256 = sha256Hex(content);
/** Two seconds for all of it: long enough to do something meanwhile. */
const SLOWLY = ['--limit-rate', '6MB/s'];
const SOME = 3 * MB;

let server: RunningServer;
let home: CliHome;
let port: number;

const startHere = () => startServer({ dataDir: join(home.directory, '.data'), port });

beforeEach(async () => {
  port = await quietPort();
  home = await createCliHome({ LANDFALL_URL: `http://127.0.0.1:${port}` });
  server = await startHere();
  await writeFile(join(home.directory, 'big.bin'), content);
});
afterEach(async () => {
  await server.stop('SIGKILL');
  await home.remove();
});

/** As after a crash: at once, and with what was acknowledged. */
async function restartServer(): Promise<void> {
  await server.stop('SIGKILL');
  server = await startHere();
}

/** Bytes that the server has of uploads that are not finished. */
async function arrivedBytes(): Promise<number> {
  const reply = await request('GET', `${server.origin}/uploads?state=receiving`).catch(() => undefined);
  if (reply?.status !== 200) return 0;
  const { uploads } = JSON.parse(reply.body.toString()) as { uploads: { id: string }[] };
  const sizes = await Promise.all(
    uploads.map(({ id }) =>
      readFile(join(server.dataDir, 'uploads', id)).then(
        ({ length }) => length,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function untilArrived(bytes: number, { done }: RunningCli): Promise<void> {
  let isOver = false;
  void done.then(() => {
    isOver = true;
  });
  while ((await arrivedBytes()) < bytes) {
    if (isOver) throw new Error(`it ended: ${JSON.stringify(await done)}`);
    await sleep(20);
  }
}

async function expectStored(url: string): Promise<void> {
  const reply = await request('GET', url);
  expect([reply.status, sha256Hex(reply.body)]).toEqual([200, contentSha256]);
}

async function finishedUploads(): Promise<number> {
  const reply = await request('GET', `${server.origin}/uploads?state=ready`);
  return (JSON.parse(reply.body.toString()) as { uploads: { partial: boolean }[] }).uploads.filter(
    ({ partial }) => !partial,
  ).length;
}

async function expectResumed(args: readonly string[]): Promise<void> {
  const { code, value } = await home.json<UploadReport>(args);
  const [done] = value.uploads;
  expect([code, value.uploads.length, done?.ok]).toEqual([0, 1, true]);
  expect(done?.resumedBytes).toBeGreaterThan(0);
  expect(done?.sentBytes).toBe(content.length - (done?.resumedBytes ?? 0));
  await expectStored(done?.url as string);
  expect(await readdir(home.stateDir)).toEqual([]);
  expect(await finishedUploads()).toBe(1);
}

describe.each([1, 4])('kill -9 of the client with --parallel %d', (parallel) => {
  test('the same command goes on', async () => {
    const args = ['upload', 'big.bin', '--parallel', String(parallel), '--checksum', 'sha256'];
    const cli = home.start([...args, ...SLOWLY]);
    await untilArrived(SOME, cli);
    cli.child.kill('SIGKILL');
    await cli.done;
    await expectResumed(args);
  });

  test('resume goes on, by file or by id, without being told where', async () => {
    const cli = home.start(['upload', 'big.bin', '--parallel', String(parallel), ...SLOWLY]);
    await untilArrived(SOME, cli);
    cli.child.kill('SIGKILL');
    await cli.done;
    const { value } = await home.json<{ uploads: { source: { path: string }; parts: { url: string }[] }[] }>([
      'list',
      '--unfinished',
    ]);
    expect(value.uploads.map(({ source, parts }) => [source.path, parts.length])).toEqual([
      [join(home.directory, 'big.bin'), parallel],
    ]);
    const id = value.uploads[0]?.parts[0]?.url.split('/').at(-1) as string;
    await expectResumed(['resume', parallel === 1 ? id : 'big.bin', '--server', 'http://127.0.0.1:9']);
  });
});

describe('kill -9 of the server', () => {
  test.each([1, 4])(
    'with --parallel %d the client waits, and goes on where the server is',
    async (parallel) => {
      const cli = home.start(['upload', 'big.bin', '--parallel', String(parallel), ...SLOWLY, '--json']);
      await untilArrived(SOME, cli);
      await restartServer();
      const { code, stdout } = await cli.done;
      expect(code).toBe(0);
      await expectStored((JSON.parse(stdout) as UploadReport).uploads[0]?.url as string);
      expect(await finishedUploads()).toBe(1);
    },
  );

  test('of what came through the standard input nothing is lost either', async () => {
    const args = ['upload', '-', '--checksum', 'sha256', '--chunk-size', '2MB', '--json'];
    const cli = home.start([...args, ...SLOWLY], { input: content });
    await untilArrived(SOME, cli);
    await restartServer();
    const { code, stdout } = await cli.done;
    expect(code).toBe(0);
    await expectStored((JSON.parse(stdout) as UploadReport).uploads[0]?.url as string);
  });
});

describe('an interruption', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s says how to go on, with exit code %d', async (signal, exitCode) => {
    const cli = home.start(['upload', 'big.bin', 'missing', ...SLOWLY]);
    await untilArrived(SOME, cli);
    cli.child.kill(signal);
    const { code, stderr } = await cli.done;
    expect(code).toBe(exitCode);
    expect(stderr).toContain('Interrupted.\nWhat arrived is kept. To go on:\n  landfall resume big.bin\n');
    expect(stderr).not.toContain('landfall resume missing');
    await expectResumed(['resume']);
  });

  test('with --json says which can be gone on with', async () => {
    const cli = home.start(['upload', 'big.bin', '--json', ...SLOWLY]);
    await untilArrived(SOME, cli);
    cli.child.kill('SIGINT');
    const { code, stdout } = await cli.done;
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({
      uploads: [{ file: 'big.bin', ok: false, isResumable: true, error: { code: 'aborted' } }],
      exitCode: 130,
    });
  });
});

describe('what is remembered', () => {
  async function interrupt(): Promise<void> {
    const cli = home.start(['upload', 'big.bin', '--parallel', '2', ...SLOWLY]);
    await untilArrived(SOME, cli);
    cli.child.kill('SIGKILL');
    await cli.done;
  }

  test('of a file that changed since is of no use: resume says so, upload begins again', async () => {
    await interrupt();
    const later = new Date(Date.now() + 5000);
    await utimes(join(home.directory, 'big.bin'), later, later);
    const refused = await home.json<UploadReport>(['resume', 'big.bin']);
    expect([refused.code, refused.value.uploads[0]?.error?.code]).toEqual([1, 'source_changed']);
    const { code, value } = await home.json<UploadReport>(['upload', 'big.bin']);
    expect([code, value.uploads[0]?.resumedBytes, value.uploads[0]?.sentBytes]).toEqual([
      0,
      0,
      content.length,
    ]);
    await expectStored(value.uploads[0]?.url as string);
    expect(await readdir(home.stateDir)).toEqual([]);
  });

  test('can be given up: abort deletes all of its parts', async () => {
    await interrupt();
    expect((await home.run(['abort', 'big.bin'])).code).toBe(0);
    expect(await readdir(home.stateDir)).toEqual([]);
    expect(await arrivedBytes()).toBe(0);
    const { code, stderr } = await home.run(['resume', 'big.bin']);
    expect(code).toBe(6);
    expect(stderr).toContain('there is no unfinished upload of big.bin');
  });

  test('and the server has lost begins again, and says so', async () => {
    await interrupt();
    await server.stop('SIGKILL');
    await rm(join(home.directory, '.data'), { recursive: true });
    server = await startHere();
    const { code, stdout, stderr } = await home.run(['upload', 'big.bin']);
    expect(code).toBe(0);
    expect(stderr).toContain('the server has nothing of it any more: it starts from the beginning');
    await expectStored(/http:\S+/.exec(stdout)?.[0] as string);
  });

  test('belongs to one run at a time', async () => {
    const cli = home.start(['upload', 'big.bin', ...SLOWLY, '--json']);
    await untilArrived(SOME, cli);
    const second = await home.json<UploadReport>(['upload', 'big.bin']);
    expect([second.code, second.value.uploads[0]?.error?.code]).toEqual([1, 'in_use']);
    const { code, stdout } = await cli.done;
    expect(code).toBe(0);
    await expectStored((JSON.parse(stdout) as UploadReport).uploads[0]?.url as string);
  });
});

describe('what is in front of the server', () => {
  /** Passes everything on, but answers some requests by itself. */
  async function startProxy(answer: (req: http.IncomingMessage) => number | 'cut' | undefined) {
    const proxy = http.createServer((req, res) => {
      const own = answer(req);
      if (own === 'cut') {
        // After some of the body, as a line that breaks.
        req.once('data', () => req.socket.destroy());
        return;
      }
      if (own !== undefined) {
        res.writeHead(own, { 'content-type': 'text/html', connection: 'close' }).end('<h1>not now</h1>');
        return;
      }
      const { method, url, headers } = req;
      const onward = http.request({ port, host: '127.0.0.1', method, path: url, headers }, (reply) => {
        res.writeHead(reply.statusCode as number, reply.headers);
        reply.pipe(res);
      });
      onward.on('error', () => res.destroy());
      req.pipe(onward);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    return { proxy, origin: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
  }

  const PASSING = [502, 503, 404, 410, 429, 409];

  test(`may answer ${PASSING} to a HEAD for a while: nothing starts over for it`, async () => {
    const uploadThrough = async (status: number) => {
      let patches = 0;
      let heads = 0;
      const { proxy, origin } = await startProxy(({ method }) => {
        if (method === 'PATCH' && patches++ === 0) return 'cut';
        if (method === 'HEAD' && heads++ < 2) return status;
        return undefined;
      });
      try {
        const { url } = await upload(content, { server: origin, parallel: 1 });
        await expectStored(url);
        expect([patches, heads]).toEqual([2, 3]);
      } finally {
        proxy.close();
      }
    };
    await Promise.all(PASSING.map(uploadThrough));
    expect(await finishedUploads()).toBe(PASSING.length);
    expect(await arrivedBytes()).toBe(0);
  });
});
