import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { upload } from '../../client/index.ts';
import { randomBytesOf } from '../faults/random.ts';
import { type CliHome, createCliHome } from '../support/cli.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, patch, request } from '../support/tus.ts';

const TOKEN = 'a-token-of-thirty-two-characters';
const ROOT = join(import.meta.dirname, '../..');

let server: RunningServer;
let home: CliHome;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_ADMIN_TOKEN: TOKEN } });
  home = await createCliHome({ LANDFALL_URL: server.origin, LANDFALL_TOKEN: TOKEN });
});
afterAll(async () => {
  await server.stop();
  await home.remove();
});

const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);
const namedMetadata = (name: string) => ({
  'Upload-Metadata': `filename ${Buffer.from(name).toString('base64')}`,
});

describe('list, show, abort', () => {
  test('list the newest first, without parts, and only what is asked for', async () => {
    const { id } = await upload(Buffer.from('done'), {
      server: server.origin,
      metadata: { filename: 'done.txt' },
    });
    const half = idOf(await createUpload(server.filesUrl, 10, namedMetadata('half\u001b[2J.txt')));
    await patch(`${server.filesUrl}/${half}`, 0, 'hello');
    const part = idOf(await createUpload(server.filesUrl, 10, { 'Upload-Concat': 'partial' }));
    const ids = async (...args: string[]) =>
      (await home.json<{ uploads: { id: string }[] }>(['list', ...args])).value.uploads.map(
        (each) => each.id,
      );
    expect(await ids()).toEqual([half, id]);
    expect(await ids('--parts')).toEqual([part, half, id]);
    expect(await ids('--state', 'ready')).toEqual([id]);
    expect(await ids('--limit', '1')).toEqual([half]);
    expect(await ids('--all')).toEqual([half, id]);

    const { stdout } = await home.run(['list']);
    const [header, ...rows] = stdout.trimEnd().split('\n');
    expect(header).toMatch(/^ID +STATE +SIZE +CREATED +NAME$/);
    expect(rows).toHaveLength(2);
    // A name that somebody else chose does nothing to the terminal.
    expect(rows[0]).toMatch(
      new RegExp(`^${half} +\\S+ +10 B +\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d +half\\?\\[2J\\.txt$`),
    );

    const wrong = await home.run(['list', '--state', 'unheard']);
    expect([wrong.code, wrong.stdout]).toEqual([2, '']);
  });

  test('list without the token is refused, in the words of the server', async () => {
    const { code, stderr } = await home.run(['list', '--token', 'another']);
    expect(code).toBe(1);
    expect(stderr).toBe(
      'landfall: cannot list uploads: 401 An Authorization header with the bearer token is required. (unauthorized)\n',
    );
  });

  test('show what the server knows, by id or by address', async () => {
    const done = await upload(Buffer.from('hello'), {
      server: server.origin,
      metadata: { filename: 'a.txt' },
      checksum: 'sha256',
    });
    const { code, stdout } = await home.run(['show', done.id]);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      new RegExp(`^id +${done.id}\naddress +${done.url}\nstate +ready\nsize +5 B \\(5 bytes\\)\n`),
    );
    expect(stdout).toContain(`sha256    ${done.sha256}`);
    const { value } = await home.json<{ id: string }>(['show', done.url]);
    expect(value.id).toBe(done.id);

    const missing = await home.json<{ error: unknown }>(['show', 'A'.repeat(32)]);
    expect([missing.code, missing.value.error]).toMatchObject([
      6,
      { code: 'upload_gone', status: 404, serverCode: 'upload_not_found', exitCode: 6 },
    ]);
  });

  test('abort deletes several, and says which could not be', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const { code, value } = await home.json<{ uploads: { ok: boolean }[] }>([
      'abort',
      idOf(url),
      'A'.repeat(32),
    ]);
    expect([code, value.uploads.map(({ ok }) => ok)]).toEqual([3, [true, false]]);
    expect((await request('GET', `${server.origin}/uploads/${idOf(url)}`)).body.toString()).toContain(
      '"aborted"',
    );
  });
});

describe('progress', () => {
  test('follows an upload that others send until it is ready', async () => {
    const url = await createUpload(server.filesUrl, 10, namedMetadata('a.bin'));
    const cli = home.start(['progress', idOf(url), '--json']);
    const lines = () =>
      cli
        .stdout()
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as { state: string; offset: number });
    await untilTrue(() => lines().length > 0);
    await patch(url, 0, 'hello');
    await untilTrue(() => lines().some(({ offset }) => offset === 5));
    await patch(url, 5, 'world');
    expect((await cli.done).code).toBe(0);
    const seen = lines();
    expect([seen[0]?.offset, seen.at(-1)]).toMatchObject([0, { state: 'ready', offset: 10 }]);
  });

  test('of one that is given up is exit code 1', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const cli = home.start(['progress', url]);
    await untilTrue(() => cli.stderr() !== '' || cli.child.exitCode !== null || cli.child.pid !== undefined);
    await request('DELETE', url, { 'Tus-Resumable': '1.0.0' });
    const { code, stdout } = await cli.done;
    expect([code, stdout]).toEqual([1, `✗ ${idOf(url)}  10 B, aborted: Deleted by the client. (deleted)\n`]);
  });
});

test('progress of a part of a parallel upload ends when the whole is made of it', async () => {
  const part = await createUpload(server.filesUrl, 5, { 'Upload-Concat': 'partial' });
  const cli = home.start(['progress', idOf(part), '--json']);
  await untilTrue(() => cli.stdout() !== '');
  await patch(part, 0, 'hello');
  const final = await request('POST', server.filesUrl, {
    'Tus-Resumable': '1.0.0',
    'Upload-Concat': `final;${part}`,
  });
  expect((await cli.done).code).toBe(0);
  const { stdout } = await home.run(['progress', idOf(part)]);
  expect(stdout).toBe(`✓ ${idOf(part)}  5 B, is now a part of ${idOf(final.headers.location as string)}\n`);
});

describe('test-upload', () => {
  test.each([[['5MB']], [['6MB', '--parallel', '3']], [['1kB']]])(
    '%j: everything in turn, and nothing stays',
    async (args) => {
      const before = await home.json<{ uploads: { state: string }[] }>(['list', '--all', '--parts']);
      const { code, stdout } = await home.run(['test-upload', ...args]);
      expect([code, stdout]).toEqual([
        0,
        expect.stringMatching(/the same bytes[^\n]*\n✓ clean up {2}deleted\n$/),
      ]);
      expect(stdout.includes('cut after')).toBe(args[0] !== '1kB');
      const after = await home.json<{ uploads: { state: string }[] }>(['list', '--all', '--parts']);
      const alive = ({ value }: typeof after) =>
        value.uploads.filter(({ state }) => state !== 'aborted').length;
      expect(alive(after)).toBe(alive(before));
    },
  );
});

describe('the server’s own programs', () => {
  test('config: what is in force and where it comes from, without secrets; LANDFALL_URL is the client’s own', async () => {
    await writeFile(join(home.directory, 'landfall.yaml'), 'maxSize: 1GiB\nlogLevel: debug\n');
    const other = await createCliHome({
      LANDFALL_URL: server.origin,
      LANDFALL_TOKEN: TOKEN,
      LANDFALL_PORT: '8080',
      LANDFALL_LOG_LEVEL: 'warn',
      LANDFALL_REDIS_URL: 'redis://user:secret@localhost:6379',
      LANDFALL_ADMIN_TOKEN: 'another-token-of-more-than-32-characters',
      LANDFALL_CONFIG: join(home.directory, 'landfall.yaml'),
    });
    try {
      const { code, stdout } = await other.run(['config', '--changed']);
      expect(code).toBe(0);
      expect(stdout.replace(/ +/g, ' ')).toContain(' LANDFALL_PORT 8080 environment\n');
      expect(stdout).not.toMatch(/another-token|secret@/);
      const { value } = await other.json<{ settings: { name: string; value: string; source: string }[] }>([
        'config',
      ]);
      const of = (name: string) => value.settings.find((setting) => setting.name === name);
      expect([
        of('LANDFALL_MAX_SIZE'),
        of('LANDFALL_LOG_LEVEL'),
        of('LANDFALL_REDIS_URL'),
        of('LANDFALL_HOST'),
      ]).toMatchObject([
        { value: '1GiB', source: 'file' },
        { value: 'warn', source: 'environment' },
        { value: '(a secret of 34 characters)', source: 'environment' },
        { value: '127.0.0.1', source: 'default' },
      ]);
    } finally {
      await other.remove();
    }
  });

  test('config and serve with a wrong configuration: all problems, exit code 78', async () => {
    const other = await createCliHome({ LANDFALL_PORT: 'many', LANDFALL_STORE: 'tape' });
    try {
      for (const command of ['config', 'serve']) {
        const { code, stderr } = await other.run([command]);
        expect(code).toBe(78);
        expect(stderr).toMatch(/LANDFALL_PORT[\s\S]*LANDFALL_STORE/);
      }
    } finally {
      await other.remove();
    }
  });

  test('serve: options win over the environment, and SIGTERM ends it', async () => {
    const other = await createCliHome({
      LANDFALL_PORT: 'many',
      LANDFALL_URL: server.origin,
      LANDFALL_WEB: 'off',
    });
    try {
      const cli = other.start(['serve', '--port', '0', '--data-dir', join(other.directory, 'd')]);
      await untilTrue(() => /takes tus uploads at +(\S+)/.test(cli.stdout()));
      const url = /takes tus uploads at +(\S+)/.exec(cli.stdout())?.[1] as string;
      expect((await request('OPTIONS', url)).status).toBe(204);
      cli.child.kill('SIGTERM');
      expect((await cli.done).code).toBe(0);
    } finally {
      await other.remove();
    }
  });

  test('doctor has its own words and exit codes', async () => {
    const { code, stdout } = await home.run(['doctor', '--help']);
    expect([code, stdout]).toEqual([0, expect.stringContaining('doctor')]);
  });
});

describe('a terminal', () => {
  test('has bars that are drawn over, and only the result stays', async () => {
    await writeFile(join(home.directory, 'big.bin'), randomBytesOf('terminal', 8_000_000));
    // script(1) is a terminal of 100 columns for what it runs.
    const command = `stty cols 100; '${process.execPath}' '${join(ROOT, 'cli/main.ts')}' upload big.bin --limit-rate 5MB/s`;
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: home.directory,
      env: {
        PATH: process.env.PATH,
        LANG: 'C.UTF-8',
        TERM: 'xterm',
        LANDFALL_URL: server.origin,
        XDG_STATE_HOME: join(home.directory, '.state'),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString();
    });
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
    expect(output).toMatch(/big\.bin +.*━.*─.* +\d+% {2}[0-9.]+ MB of 8\.00 MB/);
    const { screen, widest } = replay(output);
    expect(screen.join('\n')).toMatch(/^✓ big\.bin {2}8\.00 MB in [0-9.]+ s, [0-9.]+ MB\/s\n {2}http:\S+$/);
    expect(widest).toBeLessThan(100);
  });
});

/** What is on the screen at the end, and how long its longest line ever was. */
function replay(output: string): { screen: string[]; widest: number } {
  const lines: string[] = [''];
  let row = 0;
  let widest = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape sequences of a terminal
  for (const [piece, count, kind] of output.matchAll(/\u001b\[(\d*)([A-Za-z])|[^\u001b\r\n]+|\r|\n/g)) {
    if (kind === 'A') row = Math.max(0, row - Number(count || 1));
    else if (kind === 'J') lines.splice(row, lines.length, '');
    else if (kind === 'K') lines[row] = '';
    else if (piece === '\n') {
      row += 1;
      lines[row] ??= '';
    } else if (kind === undefined && piece !== '\r') {
      lines[row] += piece;
      widest = Math.max(widest, (lines[row] as string).length);
    }
  }
  return { screen: lines.filter((line) => line !== ''), widest };
}

async function untilTrue(isTrue: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error('it did not happen');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
