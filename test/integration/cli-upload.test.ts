import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type CliHome, createCliHome, type UploadReport } from '../support/cli.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* The real command line against the real server. */

const MB = 1000 ** 2;
const content = randomBytesOf('cli-upload', 12 * MB);

let server: RunningServer;
let home: CliHome;

beforeAll(async () => {
  server = await startServer();
  home = await createCliHome({ LANDFALL_URL: server.origin });
  await writeFile(join(home.directory, 'big.bin'), content);
  await writeFile(join(home.directory, 'note.txt'), 'hello');
  await writeFile(join(home.directory, 'nothing'), '');
});
afterAll(async () => {
  await server.stop();
  await home.remove();
});

interface Shown {
  state: string;
  size: number;
  filename: string | null;
  contentType: string | null;
  declaredSha256: string | null;
  sha256: string | null;
  metadata: string;
}

async function show(id: string): Promise<Shown> {
  return JSON.parse((await request('GET', `${server.origin}/uploads/${id}`)).body.toString()) as Shown;
}

/** `Upload-Metadata` as it was sent. */
function metadataOf({ metadata }: Shown): Record<string, string> {
  return Object.fromEntries(
    metadata.split(',').map((pair) => {
      const [key = '', value = ''] = pair.split(' ');
      return [key, Buffer.from(value, 'base64').toString()];
    }),
  );
}

async function stored(url: string): Promise<string> {
  const reply = await request('GET', url);
  expect(reply.status).toBe(200);
  return sha256Hex(reply.body);
}

describe('landfall upload', () => {
  test('says in plain lines where the upload is, and remembers nothing of a finished one', async () => {
    const { code, stdout, stderr } = await home.run(['upload', 'note.txt']);
    expect([code, stderr]).toEqual([0, '']);
    const [, url = ''] = /^✓ note\.txt {2}5 B in [0-9.]+ s.*\n {2}(http:\S+)\n$/.exec(stdout) ?? [];
    expect((await request('GET', url)).body.toString()).toBe('hello');
    expect(await show(url.slice(url.lastIndexOf('/') + 1))).toMatchObject({
      state: 'ready',
      filename: 'note.txt',
      contentType: 'text/plain',
    });
    expect(await readdir(home.stateDir)).toEqual([]);
  });

  test('works where nothing can be remembered, and says so', async () => {
    const other = await createCliHome({
      LANDFALL_URL: server.origin,
      XDG_STATE_HOME: join(home.directory, 'note.txt'),
    });
    try {
      await writeFile(join(other.directory, 'note.txt'), 'hello');
      const { code, stderr } = await other.run(['upload', 'note.txt']);
      expect([code, stderr]).toEqual([
        0,
        expect.stringMatching(/^Unfinished uploads are not remembered: ENOTDIR.*\n$/),
      ]);
    } finally {
      await other.remove();
    }
  });

  test('uploads several, the empty one too, and says which one failed', async () => {
    const { code, value } = await home.json<UploadReport>([
      'upload',
      'note.txt',
      'missing',
      'nothing',
      'big.bin',
    ]);
    expect([code, value.exitCode]).toEqual([3, 3]);
    expect(value.uploads.map(({ file, ok }) => [file, ok])).toEqual([
      ['note.txt', true],
      ['missing', false],
      ['nothing', true],
      ['big.bin', true],
    ]);
    expect(value.uploads[1]).toMatchObject({ error: { code: 'source_unreadable' }, isResumable: false });
    expect(await stored(value.uploads[3]?.url as string)).toBe(sha256Hex(content));
    expect(await show(value.uploads[2]?.id as string)).toMatchObject({ state: 'ready', size: 0 });
  });

  test('--parallel and --checksum: parts at the same time, verified as a whole', async () => {
    const args = ['upload', 'big.bin', '--parallel', '4', '--chunk-size', '1MiB', '--checksum', 'sha256'];
    const { code, value } = await home.json<UploadReport>(args);
    const [done] = value.uploads;
    expect([code, done?.sha256]).toEqual([0, sha256Hex(content)]);
    expect(await stored(done?.url as string)).toBe(sha256Hex(content));
    expect(await show(done?.id as string)).toMatchObject({
      state: 'ready',
      filename: 'big.bin',
      declaredSha256: sha256Hex(content),
      sha256: sha256Hex(content),
    });
  });

  test('--checksum of a small one is declared before its first byte', async () => {
    const { value } = await home.json<UploadReport>(['upload', 'note.txt', '--checksum', 'sha256']);
    expect(await show(value.uploads[0]?.id as string)).toMatchObject({
      state: 'ready',
      declaredSha256: sha256Hex(Buffer.from('hello')),
    });
  });

  test('--metadata: what was given wins, and is kept as it is', async () => {
    const args = [
      'upload',
      'note.txt',
      '--metadata',
      'filename=ü=1.txt',
      '--metadata',
      'group=a b',
      '--metadata',
      'x=',
    ];
    const { value } = await home.json<UploadReport>(args);
    expect(metadataOf(await show(value.uploads[0]?.id as string))).toEqual({
      filename: 'ü=1.txt',
      filetype: 'text/plain',
      group: 'a b',
      x: '',
    });
  });

  test('--recursive: everything below, with its place; links to files, and into no circle', async () => {
    const top = join(home.directory, 'photos');
    await mkdir(join(top, 'summer', 'sea'), { recursive: true });
    await writeFile(join(top, 'a.jpg'), 'a');
    await writeFile(join(top, 'summer', 'sea', 'b c.jpg'), 'b');
    await symlink('../a.jpg', join(top, 'summer', 'link.jpg'));
    await symlink('..', join(top, 'summer', 'circle'));
    const { code, value } = await home.json<UploadReport>(['upload', '--recursive', 'photos']);
    expect(code).toBe(0);
    const paths = await Promise.all(
      value.uploads.map(async ({ id }) => metadataOf(await show(id)).relativePath),
    );
    expect(paths).toEqual(['photos/a.jpg', 'photos/summer/link.jpg', 'photos/summer/sea/b c.jpg']);

    const refused = await home.run(['upload', 'note.txt', 'photos']);
    expect([refused.code, refused.stdout]).toEqual([2, '']);
    expect(refused.stderr).toContain('photos is a directory: add --recursive');
  });

  test('-: the standard input, whose length is told at its end', async () => {
    const args = [
      'upload',
      '-',
      '--metadata',
      'filename=dump.json',
      '--checksum',
      'sha256',
      '--chunk-size',
      '5MB',
    ];
    const { code, value } = await home.json<UploadReport>(args, content);
    expect(code).toBe(0);
    expect(value.uploads[0]).toMatchObject({ size: content.length, sha256: sha256Hex(content) });
    expect(await stored(value.uploads[0]?.url as string)).toBe(sha256Hex(content));
    expect(await show(value.uploads[0]?.id as string)).toMatchObject({
      filename: 'dump.json',
      contentType: 'application/json',
      declaredSha256: sha256Hex(content),
    });
  });

  test.each([0, 5 * MB, 10 * MB])('-: %d bytes in chunks of 5 MB', async (length) => {
    const bytes = content.subarray(0, length);
    const { code, value } = await home.json<UploadReport>(['upload', '-', '--chunk-size', '5MB'], bytes);
    expect([code, value.uploads[0]?.size]).toEqual([0, length]);
    expect(await stored(value.uploads[0]?.url as string)).toBe(sha256Hex(bytes));
  });

  test('--limit-rate: takes at least as long, and shows how far it is without a terminal, in whole lines', async () => {
    const args = ['upload', 'big.bin', '--limit-rate', '5MB/s', '--parallel', '3'];
    const startedAtMs = performance.now();
    const { code, stdout, stderr } = await home.run(args);
    expect(performance.now() - startedAtMs).toBeGreaterThan(2000);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^big\.bin: \d+%, [0-9.]+ MB of 12\.0 MB, [0-9.]+ MB\/s(, [0-9.]+ s left)?\n/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal would be told
    expect(stdout + stderr).not.toMatch(/[\u001b\r]/);
  });

  test.each([
    [['upload'], /missing required argument 'files'/],
    [['upload', 'note.txt', '--parallel', '0'], /"0" is not a whole number from 1 to 50/],
    [['upload', 'note.txt', '--chunk-size', '8M'], /"8M" is not a size/],
    [['upload', 'note.txt', '--limit-rate', 'fast'], /"fast" is not a rate/],
    [['upload', 'note.txt', '--checksum', 'md5'], /"md5" is not sha256/],
    [['upload', 'note.txt', '--metadata', 'a b=c'], /is not key=value/],
    [['upload', 'note.txt', '--nonsense'], /unknown option '--nonsense'/],
    [['upload', '-', '-'], /the standard input can be uploaded once/],
    [['nonsense'], /unknown command 'nonsense'/],
  ])('a wrong command line is exit code 2: %j', async (args, message) => {
    const { code, stdout, stderr } = await home.run(args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });

  test('a server that is not there is exit code 4; an address that is none, 1', async () => {
    const nowhere = ['--server', 'http://127.0.0.1:9', '--retry-for', '0'];
    const { code, value } = await home.json<UploadReport>(['upload', 'note.txt', ...nowhere]);
    expect([code, value.uploads[0]?.error?.code, value.uploads[0]?.isResumable]).toEqual([
      4,
      'network',
      false,
    ]);
    const { code: other, stderr } = await home.run(['upload', 'note.txt', '--server', 'upload.example']);
    expect(other).toBe(1);
    expect(stderr).toContain('"upload.example" is not the address of a server');
  });
});

describe('what the server refuses', () => {
  test('is told in its own words, with its code, before a byte of a large one is sent', async () => {
    const strict = await startServer({
      env: { LANDFALL_MAX_SIZE: '1MB', LANDFALL_ALLOWED_TYPES: 'image/*' },
    });
    try {
      const { code, value } = await home.json<UploadReport>([
        ...['upload', 'note.txt', 'big.bin', '--parallel', '2'],
        ...['--server', strict.filesUrl],
      ]);
      expect(code).toBe(1);
      expect(value.uploads.map(({ error }) => [error?.status, error?.serverCode])).toEqual([
        [415, 'type_not_allowed'],
        [413, 'size_limit'],
      ]);
      const list = await home.json<{ uploads: unknown[] }>(['list', '--parts', '--server', strict.origin]);
      expect(list.value.uploads).toEqual([]);
    } finally {
      await strict.stop();
    }
  });
});
