import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SAMPLES } from '../support/media-samples.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request, TUS } from '../support/tus.ts';

const run = promisify(execFile);
const MB = 1_000_000;

interface Stored {
  id: string;
  url: string;
  size: number;
  sha256?: string;
  field?: string;
  filename?: string | null;
}

let server: RunningServer;
let strict: RunningServer;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-plain-'));
  server = await startServer();
  strict = await startServer({
    env: {
      LANDFALL_MAX_SIZE: '1000000',
      LANDFALL_ALLOWED_TYPES: 'image/*',
      LANDFALL_CORS_ORIGINS: 'https://app.example',
      LANDFALL_IDLE_TIMEOUT: '300ms',
    },
  });
});
afterAll(async () => {
  await server.stop();
  await strict.stop();
  await rm(directory, { recursive: true });
});

async function fileOf(name: string, bytes: Buffer): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, bytes);
  return path;
}

/** Runs curl and returns the status and the JSON that it got. */
async function curl<T = Stored>(...args: string[]): Promise<{ status: number; json: T; headers: string }> {
  const { stdout } = await run('curl', ['-sS', '-D', '-', '-w', '\n%{http_code}', ...args]);
  const status = Number(stdout.slice(stdout.lastIndexOf('\n') + 1));
  const body = stdout.slice(stdout.lastIndexOf('\r\n\r\n') + 4, stdout.lastIndexOf('\n'));
  return { status, json: JSON.parse(body) as T, headers: stdout };
}

async function download(where: RunningServer, { url }: Stored): Promise<Buffer> {
  const reply = await request('GET', new URL(url, where.origin).href);
  expect(reply.status).toBe(200);
  return reply.body;
}

async function recordOf(where: RunningServer, { id }: Stored): Promise<Record<string, unknown>> {
  return JSON.parse((await request('GET', `${where.origin}/uploads/${id}`)).body.toString());
}

/** Everything that is there: files in the store, and records in the catalog. */
async function everything(where: RunningServer): Promise<{ files: number; records: number }> {
  const page = JSON.parse((await request('GET', `${where.origin}/uploads?limit=1000`)).body.toString());
  return { files: (await readdir(join(where.dataDir, 'uploads'))).length, records: page.uploads.length };
}

/** Runs something that must leave nothing behind. */
async function leavesNothing<T>(where: RunningServer, task: () => Promise<T>): Promise<T> {
  const before = await everything(where);
  const result = await task();
  await expect.poll(() => everything(where)).toEqual(before);
  return result;
}

function form(boundary: string, ...parts: [string, string | Buffer][]): Buffer {
  const pieces = parts.flatMap(([head, body]) => [
    Buffer.from(`--${boundary}\r\n${head}\r\n\r\n`),
    Buffer.from(body),
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)]);
}

function postForm(where: RunningServer, body: Buffer, headers: Record<string, string> = {}) {
  return request(
    'POST',
    where.filesUrl,
    { 'Content-Type': 'multipart/form-data; boundary=B', ...headers },
    body,
  );
}

function errorOf(reply: { body: Buffer }): string {
  return JSON.parse(reply.body.toString()).error.code;
}

describe('PUT', () => {
  it('curl -T stores a file: 201, Location and JSON', async () => {
    const bytes = randomBytes(300_000);
    const path = await fileOf('ü 日本.bin', bytes);
    const { status, json, headers } = await curl(
      ...['-T', path, '-H', 'Content-Type: image/png'],
      `${server.filesUrl}?filename=${encodeURIComponent('ü 日本.png')}&metadata.group=holiday&token=secret`,
    );
    expect(status).toBe(201);
    expect(json).toEqual({ id: expect.any(String), url: `/files/${json.id}`, size: 300_000 });
    expect(headers).toContain(`\r\nlocation: ${json.url}\r\n`);
    expect((await download(server, json)).equals(bytes)).toBe(true);
    const record = await recordOf(server, json);
    expect(record).toMatchObject({
      state: 'ready',
      filename: 'ü 日本.png',
      contentType: 'image/png',
      group: 'holiday',
    });
    // The rest of the query is somebody else's.
    expect(record.metadata).not.toContain(Buffer.from('secret').toString('base64'));
  });

  it('curl -T - streams what has no length', async () => {
    const { stdout } = await run('sh', [
      ...['-c', 'head -c 5000000 /dev/zero | curl -sS -T - "$0"', `${server.filesUrl}/?filename=zeros`],
    ]);
    const json = JSON.parse(stdout) as Stored;
    expect(json.size).toBe(5_000_000);
    expect((await download(server, json)).equals(Buffer.alloc(5_000_000))).toBe(true);
    expect(await recordOf(server, json)).toMatchObject({ state: 'ready', size: 5_000_000 });
  });

  it('what curl says by itself of --data-binary is no type of a file', async () => {
    const path = await fileOf('data', Buffer.from('hello'));
    const { json } = await curl('-X', 'PUT', '--data-binary', `@${path}`, server.filesUrl);
    expect(await recordOf(server, json)).toMatchObject({ state: 'ready', contentType: null, filename: null });
  });

  it('a body of no bytes is an upload of none, with and without Content-Length', async () => {
    for (const headers of [{}, { 'Content-Length': '0' }]) {
      const reply = await request('PUT', server.filesUrl, headers);
      expect(reply.status).toBe(201);
      const stored = JSON.parse(reply.body.toString()) as Stored;
      expect(stored.size).toBe(0);
      expect((await download(server, stored)).length).toBe(0);
    }
  });

  it('Repr-Digest is verified: the answer has it, or is an error and nothing is left', async () => {
    const bytes = randomBytes(100_000);
    const sha256 = createHash('sha256').update(bytes).digest();
    const digest = { 'Repr-Digest': `sha-256=:${sha256.toString('base64')}:` };
    for (const headers of [digest, { ...digest, 'Transfer-Encoding': 'chunked' }]) {
      const reply = await request('PUT', server.filesUrl, headers, bytes);
      expect(reply.status).toBe(201);
      expect(JSON.parse(reply.body.toString())).toMatchObject({
        size: 100_000,
        sha256: sha256.toString('hex'),
      });
    }
    await leavesNothing(server, async () => {
      const wrong = await request('PUT', server.filesUrl, digest, randomBytes(100_000));
      expect([wrong.status, errorOf(wrong)]).toEqual([400, 'digest_mismatch']);
      const malformed = await request('PUT', server.filesUrl, { 'Repr-Digest': 'sha-256=abc' }, bytes);
      expect([malformed.status, errorOf(malformed)]).toEqual([400, 'invalid_checksum']);
    });
  });

  it('requests that mean something else are refused', async () => {
    await leavesNothing(server, async () => {
      const cases: [Record<string, string>, number, string][] = [
        [{ 'Content-Range': 'bytes 0-4/10' }, 400, 'invalid_request'],
        [{ 'Content-Encoding': 'gzip' }, 415, 'unsupported_content_coding'],
        [{ 'Content-Type': 'multipart/form-data; boundary=B' }, 415, 'unsupported_media_type'],
      ];
      for (const [headers, status, code] of cases) {
        const reply = await request('PUT', server.filesUrl, headers, 'hello');
        expect([reply.status, errorOf(reply)]).toEqual([status, code]);
        expect(reply.headers['landfall-error']).toBe(code);
      }
      const key = await request('PUT', `${server.filesUrl}?metadata.a%20b=c`, {}, 'hello');
      expect([key.status, errorOf(key)]).toEqual([400, 'invalid_metadata']);
      const long = await request('PUT', `${server.filesUrl}?metadata.a=${'x'.repeat(8000)}`, {}, 'hello');
      expect([long.status, errorOf(long)]).toEqual([413, 'form_too_large']);
    });
  });

  it('elsewhere is a 405 that says what can be done there', async () => {
    const elsewhere = await request('PUT', `${server.filesUrl}/a.txt`, {}, 'hello');
    expect([elsewhere.status, elsewhere.headers.allow]).toEqual([405, 'HEAD, GET, PATCH, DELETE, OPTIONS']);
    expect((await request('GET', server.filesUrl)).headers.allow).toBe('POST, PUT, OPTIONS');
  });

  it('cut in the middle leaves nothing, with and without a length', async () => {
    for (const length of ['Content-Length: 1000000', 'Transfer-Encoding: chunked']) {
      await leavesNothing(server, async () => {
        const socket = connect(Number(new URL(server.origin).port), '127.0.0.1');
        await once(socket, 'connect');
        const size = length.startsWith('T') ? `${(300_000).toString(16)}\r\n` : '';
        socket.write(`PUT /files HTTP/1.1\r\nHost: h\r\n${length}\r\n\r\n${size}`);
        socket.write(Buffer.alloc(300_000, 'a'));
        await expect.poll(async () => (await everything(server)).files % 2).toBe(0);
        await expect.poll(() => receivingIn(server)).toBe(1);
        socket.destroy();
      });
    }
  });
});

async function receivingIn(where: RunningServer): Promise<number> {
  const reply = await request('GET', `${where.origin}/uploads/summary`);
  return JSON.parse(reply.body.toString()).byState.receiving;
}

describe('multipart/form-data', () => {
  it('curl -F stores several files, in order, with the fields before them as metadata', async () => {
    const [one, two] = [randomBytes(200_000), randomBytes(50)];
    const { status, json } = await curl<Stored[]>(
      ...['-F', 'group=holiday', '-F', 'caption=früh'],
      ...['-F', `photo=@${await fileOf('one', one)};type=image/png;filename=ü "1".png`],
      ...['-F', 'caption=später', '-F', `more=@${await fileOf('two.txt', two)}`],
      server.filesUrl,
    );
    expect(status).toBe(201);
    expect(json.map(({ field, filename, size }) => [field, filename, size])).toEqual([
      ['photo', 'ü "1".png', 200_000],
      ['more', 'two.txt', 50],
    ]);
    const [first, second] = json as [Stored, Stored];
    expect((await download(server, first)).equals(one)).toBe(true);
    expect((await download(server, second)).equals(two)).toBe(true);
    expect(await recordOf(server, first)).toMatchObject({
      state: 'ready',
      group: 'holiday',
      contentType: 'image/png',
    });
    const { metadata } = await recordOf(server, second);
    expect(metadata).toContain(`caption ${Buffer.from('später').toString('base64')}`);
  });

  it('fetch with FormData, as browsers and Node send it', async () => {
    const bytes = randomBytes(1_500_000);
    const body = new FormData();
    body.set('group', 'g');
    body.append('file', new File([bytes], '日本 "x"\n.bin', { type: 'application/pdf' }));
    body.append('empty', new File([], 'empty.txt'));
    const reply = await fetch(server.filesUrl, { method: 'POST', body });
    expect(reply.status).toBe(201);
    expect(reply.headers.get('content-type')).toBe('application/json; charset=utf-8');
    const [file, empty] = (await reply.json()) as [Stored, Stored];
    expect([file.filename, file.size, empty.filename, empty.size]).toEqual([
      '日本 "x"\n.bin',
      1_500_000,
      'empty.txt',
      0,
    ]);
    expect((await download(server, file)).equals(bytes)).toBe(true);
    expect((await download(server, empty)).length).toBe(0);
  });

  it('an input in which no file was chosen is none', async () => {
    const nothing: [string, string] = [
      'Content-Disposition: form-data; name="a"; filename=""\r\nContent-Type: application/octet-stream',
      '',
    ];
    const reply = await postForm(
      server,
      form('B', nothing, ['Content-Disposition: form-data; name="b"; filename="b"', 'hello'], nothing),
    );
    expect(reply.status).toBe(201);
    expect(JSON.parse(reply.body.toString())).toMatchObject([{ field: 'b', size: 5 }]);
    await leavesNothing(server, async () => {
      const none = await postForm(server, form('B', nothing));
      expect([none.status, errorOf(none)]).toEqual([400, 'invalid_form']);
    });
  });

  it('boundaries in quotes, forms in forms, parts without bytes', async () => {
    const inner = form('inner', ['Content-Disposition: form-data; name="x"; filename="x"', 'x']);
    const body = form(
      'a b=c',
      [
        'Content-Disposition: form-data; name="f"; filename="form"\r\nContent-Type: multipart/mixed; boundary=inner',
        inner,
      ],
      ['Content-Disposition: form-data; name="g"; filename="empty"', ''],
    );
    const reply = await request(
      'POST',
      server.filesUrl,
      { 'Content-Type': 'multipart/form-data; boundary="a b=c"' },
      Buffer.concat([Buffer.from('a preamble\r\n'), body, Buffer.from('an epilogue')]),
    );
    expect(reply.status).toBe(201);
    const [nested, empty] = JSON.parse(reply.body.toString()) as [Stored, Stored];
    expect((await download(server, nested)).equals(inner)).toBe(true);
    expect([empty.filename, empty.size]).toEqual(['empty', 0]);
  });

  it('bytes that look like delimiters come back as they were, whatever the chunks', async () => {
    const tricky = Buffer.from('\r\n--\r\n--b\r\n-B\r--B\n--B--x\r\r\n'.repeat(3_000));
    const body = form('B', ['Content-Disposition: form-data; name="f"; filename="f"', tricky]);
    const req = httpRequest(server.filesUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'multipart/form-data; boundary=B' },
    });
    const response = once(req, 'response');
    for (let at = 0; at < body.length; at += 997) {
      if (!req.write(body.subarray(at, at + 997))) await once(req, 'drain');
    }
    req.end();
    const [res] = await response;
    let text = '';
    for await (const chunk of res) text += chunk;
    const [stored] = JSON.parse(text) as [Stored];
    expect((await download(server, stored)).equals(tricky)).toBe(true);
  });

  it('a checksum in the fields is verified', async () => {
    const sha256 = createHash('sha256').update('hello').digest('hex');
    const body = (bytes: string) =>
      form(
        'B',
        ['Content-Disposition: form-data; name="checksum"', `sha256 ${sha256}`],
        ['Content-Disposition: form-data; name="f"; filename="f"', bytes],
      );
    const reply = await postForm(server, body('hello'));
    expect(JSON.parse(reply.body.toString())).toMatchObject([{ size: 5, sha256 }]);
    await leavesNothing(server, async () => {
      const wrong = await postForm(server, body('hallo'));
      expect([wrong.status, errorOf(wrong)]).toEqual([400, 'digest_mismatch']);
    });
  });

  it('malformed ones are refused, and leave nothing of what came before', async () => {
    const good: [string, string] = ['Content-Disposition: form-data; name="f"; filename="f"', 'hello'];
    const whole = form('B', good, good);
    const cases: [Buffer, number, string][] = [
      [whole.subarray(0, whole.length - 20), 400, 'invalid_form'],
      [form('C', good), 400, 'invalid_form'],
      [form('B', good, ['Content-Type: text/plain', 'x']), 400, 'invalid_form'],
      [form('B', good, [`${good[0]}\r\nContent-Transfer-Encoding: base64`, 'aGVsbG8=']), 400, 'invalid_form'],
      [form('B', good, ['Content-Disposition: form-data; name="a b"', 'x'], good), 400, 'invalid_metadata'],
      [
        form('B', good, ['Content-Disposition: form-data; name="a"', 'x'.repeat(9_000)]),
        413,
        'form_too_large',
      ],
      [form('B', good, [`X: ${'x'.repeat(20_000)}`, 'x']), 413, 'form_too_large'],
      [form('B', ...Array(101).fill(good)), 413, 'form_too_large'],
      [
        form('B', ...Array(101).fill(['Content-Disposition: form-data; name="a"', 'x'])),
        413,
        'form_too_large',
      ],
      [Buffer.alloc(0), 400, 'invalid_form'],
    ];
    for (const [body, status, code] of cases) {
      await leavesNothing(server, async () => {
        const reply = await postForm(server, body);
        expect([reply.status, errorOf(reply)]).toEqual([status, code]);
      });
    }
  });

  it('with Tus-Resumable, a POST is one of tus, whatever its body is called', async () => {
    const reply = await postForm(server, form('B', ['x: y', 'z']), { ...TUS, 'Upload-Length': '3' });
    expect(reply.status).toBe(201);
    expect(reply.headers['tus-resumable']).toBe('1.0.0');
  });

  it('cut in the middle of the second file leaves neither', async () => {
    await leavesNothing(server, async () => {
      const socket = connect(Number(new URL(server.origin).port), '127.0.0.1');
      await once(socket, 'connect');
      const body = form(
        'B',
        ['Content-Disposition: form-data; name="a"; filename="a"', Buffer.alloc(100_000)],
        ['Content-Disposition: form-data; name="b"; filename="b"', Buffer.alloc(100_000)],
      );
      const before = await everything(server);
      const head = `POST /files HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: ${body.length}\r\n\r\n`;
      socket.write(Buffer.concat([Buffer.from(head), body.subarray(0, 150_000)]));
      await expect
        .poll(() => everything(server))
        .toEqual({ files: before.files + 4, records: before.records + 2 });
      socket.destroy();
    });
  });
});

describe('the policy', () => {
  const png = (size: number) => Buffer.concat([SAMPLES.png, Buffer.alloc(size - SAMPLES.png.length)]);
  const imagePart = 'Content-Disposition: form-data; name="f"; filename="f.png"\r\nContent-Type: image/png';

  it('too large is a 413 and leaves nothing: declared, streamed, in a form behind a file that fits', async () => {
    await leavesNothing(strict, async () => {
      const path = await fileOf('large', png(1_000_001));
      expect((await curl('-T', path, strict.filesUrl)).status).toBe(413);
      const chunked = await curl('-T', path, '-H', 'Transfer-Encoding: chunked', strict.filesUrl);
      expect(chunked.status).toBe(413);
      expect(chunked.json).toMatchObject({
        error: { code: 'size_limit', message: expect.stringContaining('1000000') },
      });
      const posted = await postForm(
        strict,
        form('B', [imagePart, png(1_000_000)], [imagePart, png(1_000_001)]),
      );
      expect([posted.status, errorOf(posted)]).toEqual([413, 'size_limit']);
    });
    expect((await curl('-T', await fileOf('fits', png(1_000_000)), strict.filesUrl)).status).toBe(201);
  });

  it('a wrong type is a 415 and leaves nothing: as declared, and by the bytes', async () => {
    await leavesNothing(strict, async () => {
      const page = await fileOf('page.html', SAMPLES.html);
      const declared = await curl('-T', page, '-H', 'Content-Type: text/html', strict.filesUrl);
      const disguised = await curl('-T', page, '-H', 'Content-Type: image/png', strict.filesUrl);
      const posted = await curl('-F', `a=@${page};type=image/png`, strict.filesUrl);
      const honest = await curl('-F', `a=@${page}`, strict.filesUrl);
      for (const reply of [declared, disguised, posted, honest]) {
        expect(reply.status).toBe(415);
        expect(reply.json).toMatchObject({ error: { code: 'type_not_allowed' } });
      }
      const second = await postForm(strict, form('B', [imagePart, png(100)], [imagePart, SAMPLES.elf]));
      expect(second.status).toBe(415);
    });
  });

  it('a client that sends nothing any more is a 408 and leaves nothing', async () => {
    await leavesNothing(strict, async () => {
      for (const [head, body] of [
        ['PUT /files HTTP/1.1\r\nContent-Length: 1000', png(500)],
        [
          'POST /files HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 1000',
          '--B\r\n',
        ],
        [
          'POST /files HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 1000',
          form('B', [imagePart, png(500)]).subarray(0, 300),
        ],
      ] as const) {
        const socket = connect(Number(new URL(strict.origin).port), '127.0.0.1');
        await once(socket, 'connect');
        socket.write(`${head}\r\nHost: h\r\n\r\n`);
        socket.write(body);
        const [answer] = (await once(socket, 'data')) as [Buffer];
        expect(answer.toString()).toMatch(/^HTTP\/1\.1 408 /);
        expect(answer.toString()).toContain('Nothing was stored');
        socket.destroy();
      }
    });
  });

  it('a form from a page of another origin is refused: browsers ask nobody before they send one', async () => {
    const body = form('B', [imagePart, png(100)]);
    const from = async (origin: string) => (await postForm(strict, body, { Origin: origin })).status;
    expect(await leavesNothing(strict, () => from('https://evil.example'))).toBe(403);
    expect(await leavesNothing(strict, () => from('null'))).toBe(403);
    expect(await from('https://app.example')).toBe(201);
    expect(await from(strict.origin)).toBe(201);
    expect((await postForm(server, body, { Origin: 'https://any.example' })).status).toBe(201);
  });

  it('a browser may PUT from an allowed origin, and read where the file is', async () => {
    const preflight = await request('OPTIONS', strict.filesUrl, {
      Origin: 'https://app.example',
      'Access-Control-Request-Method': 'PUT',
    });
    expect(preflight.headers['access-control-allow-methods']).toContain('PUT');
    const reply = await request('PUT', strict.filesUrl, { Origin: 'https://app.example' }, png(100));
    expect(reply.status).toBe(201);
    expect(reply.headers['access-control-allow-origin']).toBe('https://app.example');
    expect(reply.headers['access-control-expose-headers']).toContain('Location');
  });
});

describe('memory', () => {
  it('100 MB by PUT and 300 MB in a form are never held: the process stays small, and the bytes exact', async () => {
    const small = await startServer();
    try {
      const path = await fileOf('100mb', randomBytes(100 * MB));
      const expected = (await run('sha256sum', [path])).stdout.split(' ')[0];
      await curl('-T', await fileOf('warm', randomBytes(MB)), small.filesUrl);

      const put = await growthDuring(small, () =>
        curl('-T', path, '-H', 'Transfer-Encoding: chunked', small.filesUrl),
      );
      const files = ['a', 'b', 'c'].flatMap((field) => ['-F', `${field}=@${path}`]);
      const posted = await growthDuring(small, () => curl<Stored[]>(...files, small.filesUrl));
      expect([put.result.status, posted.result.status, posted.result.json.length]).toEqual([201, 201, 3]);
      for (const { id } of [put.result.json, ...posted.result.json]) {
        const sum = await run('sha256sum', [join(small.dataDir, 'uploads', id)]);
        expect(sum.stdout.split(' ')[0]).toBe(expected);
      }
      expect(put.bytes).toBeLessThan(50 * MB);
      // What is cut out of network buffers waits for the garbage collector, however much comes.
      expect(posted.bytes).toBeLessThan(120 * MB);
    } finally {
      await small.stop();
    }
  }, 60_000);
});

/** How much larger the process was at its largest moment than at the beginning. */
async function growthDuring<T>(
  where: RunningServer,
  task: () => Promise<T>,
): Promise<{ result: T; bytes: number }> {
  const before = await where.residentBytes();
  let peak = before;
  let isDone = false;
  const watching = (async () => {
    while (!isDone) {
      peak = Math.max(peak, await where.residentBytes());
      await sleep(10);
    }
  })();
  try {
    const result = await task();
    return { result, bytes: peak - before };
  } finally {
    isDone = true;
    await watching;
  }
}

describe('shutdown', () => {
  it('ends a form that is still coming, at once, and leaves nothing of it', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-plain-'));
    const ending = await startServer({ dataDir });
    const socket = connect(Number(new URL(ending.origin).port), '127.0.0.1');
    await once(socket, 'connect');
    const part = 'Content-Disposition: form-data; name="f"; filename="f"';
    socket.write(
      'POST /files HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 9000\r\n\r\n',
    );
    socket.write(form('B', [part, 'one'], [part, 'two']).subarray(0, 140));
    await expect.poll(async () => (await everything(ending)).records).toBe(2);
    const answered = once(socket, 'data') as Promise<[Buffer]>;
    const code = ending.stop();
    const [answer] = await answered;
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 503 /);
    socket.destroy();
    expect(await code).toBe(0);
    expect(await readdir(join(dataDir, 'uploads'))).toEqual([]);
    await rm(dataDir, { recursive: true });
  });
});
