import { createHash } from 'node:crypto';
import http from 'node:http';
import { Upload } from 'tus-js-client';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Receiver, type ReceiverAnswer, startReceiver } from '../support/receiver.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

const running: RunningServer[] = [];

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

interface Told {
  Type: string;
  Event: {
    Upload: {
      ID: string;
      Size: number;
      SizeIsDeferred: boolean;
      Offset: number;
      MetaData: Record<string, string>;
      IsPartial: boolean;
      IsFinal: boolean;
      PartialUploads: string[] | null;
      Storage: Record<string, string> | null;
    };
    HTTPRequest: { Method: string; URI: string; RemoteAddr: string; Header: Record<string, string[]> };
  };
}

/** What a hook answers; undefined: nothing in particular. */
type Hook = (told: Told) => object | undefined;

interface Setup {
  receiver: Receiver;
  server: RunningServer;
  told(type?: string): Told[];
}

async function start(
  hook: Hook = () => undefined,
  {
    env = {},
    answer,
  }: { env?: Record<string, string>; answer?: (told: Told) => ReceiverAnswer | undefined } = {},
): Promise<Setup> {
  const receiver = await startReceiver(({ body }) => {
    const told = JSON.parse(body) as Told;
    return (
      answer?.(told) ?? {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(hook(told) ?? {}),
      }
    );
  });
  const server = await startServer({ env: { LANDFALL_TUSD_HOOKS_URL: receiver.url, ...env } });
  running.push(server);
  const told = (type?: string) =>
    receiver.received
      .map(({ body }) => JSON.parse(body) as Told)
      .filter(({ Type }) => type === undefined || Type === type);
  return { receiver, server, told };
}

function idOf(url: string): string {
  return url.slice(url.lastIndexOf('/') + 1);
}

function create(server: RunningServer, headers: http.OutgoingHttpHeaders = {}, body?: string) {
  return request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '5', ...headers }, body);
}

const METADATA = { 'Upload-Metadata': `filename ${Buffer.from('grüße.txt').toString('base64')},empty` };

/** Waits until each of these was told of. */
async function whenTold({ receiver, told }: Setup, types: readonly string[]): Promise<void> {
  for (let count = types.length; !types.every((type) => told(type).length > 0); count++) {
    await receiver.whenReceived(count);
  }
}

describe('an upload', () => {
  test('is told of from its creation to its end, as tusd tells it', async () => {
    const setup = await start();
    const { server, told } = setup;
    const url = await createUpload(server.filesUrl, 5, { ...METADATA, 'X-Twice': ['a', 'b'] });
    expect((await patch(url, 0, 'hel')).status).toBe(204);
    expect((await patch(url, 3, 'lo')).status).toBe(204);
    await whenTold(setup, ['pre-create', 'post-create', 'post-receive', 'pre-finish', 'post-finish']);

    const upload = {
      ID: idOf(url),
      Size: 5,
      SizeIsDeferred: false,
      Offset: 0,
      MetaData: { filename: 'grüße.txt', empty: '' },
      IsPartial: false,
      IsFinal: false,
      PartialUploads: null,
      Storage: {
        Type: 'filestore',
        Path: `${server.dataDir}/uploads/${idOf(url)}`,
        InfoPath: `${server.dataDir}/uploads/${idOf(url)}.json`,
      },
    };
    const [first] = told();
    expect(first).toMatchObject({
      Type: 'pre-create',
      Event: { Upload: { ...upload, ID: '', Storage: null } },
    });
    expect(first?.Event.HTTPRequest).toMatchObject({ Method: 'POST', URI: '/files' });
    expect(first?.Event.HTTPRequest.RemoteAddr).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(first?.Event.HTTPRequest.Header).toMatchObject({
      Host: [new URL(server.origin).host],
      'Tus-Resumable': ['1.0.0'],
      'Upload-Length': ['5'],
      'X-Twice': ['a', 'b'],
    });
    expect(told('post-create')).toMatchObject([{ Event: { Upload: upload } }]);
    expect(told('pre-finish')).toMatchObject([{ Event: { Upload: { ...upload, Offset: 5 } } }]);
    expect(told('post-finish')).toMatchObject([
      { Event: { Upload: { ...upload, Offset: 5 }, HTTPRequest: { Method: 'PATCH' } } },
    ]);
    expect(told('post-receive').map(({ Event }) => Event.Upload.Offset)).toContain(3);
    expect(told('pre-create')).toHaveLength(1);
  });

  test('of unknown length, an empty one, and a deleted one', async () => {
    const setup = await start();
    const { server, told } = setup;
    const deferred = await createUpload(server.filesUrl, 'deferred');
    expect(told('pre-create')).toMatchObject([{ Event: { Upload: { Size: 0, SizeIsDeferred: true } } }]);
    expect((await request('DELETE', deferred, TUS)).status).toBe(204);
    const empty = await createUpload(server.filesUrl, 0);
    await whenTold(setup, ['pre-terminate', 'post-terminate', 'pre-finish', 'post-finish']);
    expect(told('post-terminate')).toMatchObject([{ Event: { Upload: { ID: idOf(deferred) } } }]);
    expect(told('post-finish')).toMatchObject([
      { Event: { Upload: { ID: idOf(empty), Size: 0, Offset: 0 } } },
    ]);
    // Asking for it again is no second end.
    await head(empty);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(told('post-finish')).toHaveLength(1);
  });

  test('made of partial ones is a final one', async () => {
    const { server, told } = await start();
    const partials = [];
    for (const text of ['hel', 'lo']) {
      const url = await createUpload(server.filesUrl, text.length, { 'Upload-Concat': 'partial' });
      await patch(url, 0, text);
      partials.push(url);
    }
    const reply = await request('POST', server.filesUrl, {
      ...TUS,
      'Upload-Concat': `final;${partials.map((url) => new URL(url).pathname).join(' ')}`,
    });
    expect(reply.status).toBe(201);
    await expect.poll(() => told('post-finish').length, { timeout: 5000 }).toBe(3);
    const ids = partials.map(idOf);
    expect(told('pre-create').at(-1)).toMatchObject({
      Event: { Upload: { IsFinal: true, PartialUploads: ids, Size: 5 } },
    });
    const finished = told('post-finish').map(({ Event }) => Event.Upload);
    expect(
      finished
        .filter(({ IsPartial }) => IsPartial)
        .map(({ ID }) => ID)
        .sort(),
    ).toEqual([...ids].sort());
    expect(finished.filter(({ IsFinal }) => IsFinal)).toMatchObject([
      { ID: idOf(reply.headers.location as string), Size: 5, Offset: 5, PartialUploads: ids },
    ]);
  });

  test('by any protocol is told of', async () => {
    const { server, told } = await start();
    const put = await request('PUT', `${server.filesUrl}?filename=a.txt`, {}, 'hello');
    expect(put.status).toBe(201);
    const draft = await request('POST', server.filesUrl, { 'Upload-Complete': '?1' }, 'hello');
    expect(draft.status).toBe(201);
    const form = new FormData();
    form.set('file', new Blob(['hello']), 'b.txt');
    expect((await fetch(server.filesUrl, { method: 'POST', body: form })).status).toBe(201);
    for (const type of ['pre-create', 'pre-finish']) {
      expect(told(type).map(({ Event }) => Event.HTTPRequest.Method)).toEqual(['PUT', 'POST', 'POST']);
    }
    expect(told('pre-finish').map(({ Event }) => Event.Upload.MetaData.filename)).toEqual([
      'a.txt',
      undefined,
      'b.txt',
    ]);
  });

  test('is told of by the hooks that were asked for', async () => {
    const { server, told } = await start(undefined, { env: { LANDFALL_TUSD_HOOKS_EVENTS: 'pre-finish' } });
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hello');
    expect(told().map(({ Type }) => Type)).toEqual(['pre-finish']);
  });

  test('brings headers of its client along', async () => {
    const { server, receiver } = await start(undefined, {
      env: { LANDFALL_TUSD_HOOKS_FORWARD_HEADERS: 'authorization,cookie' },
    });
    await create(server, { Authorization: 'Bearer secret', Cookie: 'a=b', 'X-Other': 'c' });
    expect(receiver.received[0]!.headers).toMatchObject({ authorization: 'Bearer secret', cookie: 'a=b' });
    expect(receiver.received[0]!.headers).not.toHaveProperty('x-other');
  });
});

describe('pre-create', () => {
  test('refuses an upload, in its own words', async () => {
    const { server, told } = await start(() => ({
      RejectUpload: true,
      HTTPResponse: {
        StatusCode: 403,
        Body: '{"message":"no"}',
        Header: {
          'Content-Type': 'application/json',
          'X-Why': 'quota',
          'Bad Name': 'x',
          'X-Split': 'a\r\nb: c',
        },
      },
    }));
    const reply = await create(server);
    expect(reply.status).toBe(403);
    expect(reply.body.toString()).toBe('{"message":"no"}');
    expect(reply.headers).toMatchObject({
      'content-type': 'application/json',
      'x-why': 'quota',
      'landfall-error': 'upload_refused',
      'tus-resumable': '1.0.0',
    });
    expect(reply.headers).not.toHaveProperty('x-split');
    expect(reply.headers.location).toBeUndefined();
    expect((await request('PUT', server.filesUrl, {}, 'hello')).status).toBe(403);
    expect(told('post-create')).toEqual([]);
    const { body } = await request('GET', `${server.origin}/uploads`);
    expect(JSON.parse(body.toString()).uploads).toEqual([]);
  });

  test('refuses with 400 where it says no status', async () => {
    const { server } = await start(() => ({ RejectUpload: true }));
    const reply = await create(server);
    expect([reply.status, reply.headers['landfall-error']]).toEqual([400, 'upload_refused']);
  });

  test('chooses id and metadata', async () => {
    const id = 'chosen-by-the-hook_0123456789';
    const { server, told } = await start(({ Type }) =>
      Type === 'pre-create'
        ? {
            ChangeFileInfo: { ID: id, MetaData: { owner: 'Zoë' } },
            HTTPResponse: { Header: { 'X-Chosen': 'yes', Location: '/elsewhere' } },
          }
        : undefined,
    );
    const reply = await create(server, { ...METADATA, ...PATCH_TYPE }, 'hello');
    expect(reply.status).toBe(201);
    expect(reply.headers).toMatchObject({
      location: `/files/${id}`,
      'x-chosen': 'yes',
      'upload-offset': '5',
    });
    const shown = await head(`${server.filesUrl}/${id}`);
    expect(shown.headers['upload-metadata']).toBe(`owner ${Buffer.from('Zoë').toString('base64')}`);
    expect(told('pre-finish')).toMatchObject([{ Event: { Upload: { ID: id, MetaData: { owner: 'Zoë' } } } }]);
    expect((await request('GET', `${server.filesUrl}/${id}`)).body.toString()).toBe('hello');

    // It chooses the same one again: the upload that has it stays as it is.
    const again = await create(server, PATCH_TYPE, 'other');
    expect([again.status, again.headers['landfall-error']]).toEqual([500, 'hook_failed']);
    const put = await request('PUT', server.filesUrl, {}, 'other');
    expect(put.status).toBe(500);
    expect((await request('GET', `${server.filesUrl}/${id}`)).body.toString()).toBe('hello');
    // Nor does its address become another one's when it is gone.
    await request('DELETE', `${server.filesUrl}/${id}`, TUS);
    expect((await create(server)).status).toBe(500);
  });

  test('does not choose an unsafe id', async () => {
    let id = '';
    const { server } = await start(() => ({ ChangeFileInfo: { ID: id } }));
    for (id of [
      '../../etc/passwd-0123456789012',
      'short',
      'with.dots.0123456789012',
      'a/b/01234567890123456789',
    ]) {
      const reply = await create(server);
      expect([reply.status, reply.headers['landfall-error']]).toEqual([500, 'hook_failed']);
      expect(reply.body.toString()).toContain('22 to 128');
    }
  });
});

describe('pre-finish', () => {
  test('has a say in the last answer, and the upload is finished whatever it says', async () => {
    const { server } = await start(({ Type }) =>
      Type === 'pre-finish'
        ? {
            HTTPResponse: {
              StatusCode: 200,
              Body: 'stored',
              Header: { 'X-Id': '17', 'Upload-Offset': '0', 'Content-Type': 'text/x-own' },
            },
          }
        : undefined,
    );
    const url = await createUpload(server.filesUrl, 5);
    const reply = await patch(url, 0, 'hello');
    expect([reply.status, reply.body.toString()]).toEqual([200, 'stored']);
    expect(reply.headers).toMatchObject({ 'x-id': '17', 'upload-offset': '5', 'content-type': 'text/x-own' });
  });

  test('that fails makes the answer a 500, and the next one tells that all is there', async () => {
    const { server, told } = await start(undefined, {
      answer: ({ Type }) => (Type === 'pre-finish' ? { status: 404 } : undefined),
    });
    const url = await createUpload(server.filesUrl, 5);
    const reply = await patch(url, 0, 'hello');
    expect([reply.status, reply.headers['landfall-error']]).toEqual([500, 'hook_failed']);
    const shown = await head(url);
    expect([shown.status, shown.headers['upload-offset']]).toEqual([200, '5']);
    expect((await request('GET', url)).body.toString()).toBe('hello');
    expect(told('post-finish')).toEqual([]);
  });
});

describe('pre-terminate', () => {
  test('keeps an upload', async () => {
    const { server, told } = await start(({ Type }) =>
      Type === 'pre-terminate'
        ? { RejectTermination: true, HTTPResponse: { StatusCode: 409, Body: 'in use' } }
        : undefined,
    );
    const url = await createUpload(server.filesUrl, 5);
    const reply = await request('DELETE', url, TUS);
    expect([reply.status, reply.body.toString()]).toEqual([409, 'in use']);
    expect((await head(url)).status).toBe(200);
    expect(told('post-terminate')).toEqual([]);
  });
});

test('post-receive stops an upload in the middle, and it is gone', async () => {
  const setup = await start(({ Type }) =>
    Type === 'post-receive'
      ? { StopUpload: true, HTTPResponse: { StatusCode: 402, Body: 'no more' } }
      : undefined,
  );
  const { server } = setup;
  const url = await createUpload(server.filesUrl, 1_000_000);
  const answered = Promise.withResolvers<[number, string]>();
  const sending = http.request(
    url,
    { method: 'PATCH', headers: { ...TUS, ...PATCH_TYPE, 'Upload-Offset': 0, 'Content-Length': 1_000_000 } },
    (response) => {
      response.setEncoding('utf8').on('data', (body: string) => {
        answered.resolve([response.statusCode as number, body]);
        sending.destroy();
      });
    },
  );
  sending.on('error', () => {});
  sending.write('a'.repeat(1000));
  expect(await answered.promise).toEqual([402, 'no more']);
  await whenTold(setup, ['post-terminate']);
  expect((await head(url)).status).toBe(410);
});

describe('a receiver that fails', () => {
  test('is asked three times, and then the creation has failed', async () => {
    const { server, told } = await start(undefined, { answer: () => ({ status: 503 }) });
    const reply = await create(server);
    expect([reply.status, reply.headers['landfall-error']]).toEqual([500, 'hook_failed']);
    expect(told('pre-create')).toHaveLength(3);
  });

  test('lets nothing through by an answer that makes no sense', async () => {
    const json = { 'content-type': 'application/json' };
    let answer: ReceiverAnswer = {};
    const { server, told } = await start(undefined, { answer: () => answer });
    const senseless: ReceiverAnswer[] = [
      { status: 404 },
      { headers: json, body: 'yes' },
      { headers: { 'content-type': 'text/html' }, body: '{}' },
      { headers: json, body: `{}${' '.repeat(6000)}` },
      { headers: json, body: '{"RejectUpload":"no"}' },
      { headers: json, body: '[]' },
    ];
    for (answer of senseless) expect((await create(server)).status).toBe(500);
    expect(told('pre-create')).toHaveLength(senseless.length);
  });

  test('by silence is not waited for any longer than that', async () => {
    const { server } = await start(undefined, {
      env: { LANDFALL_TUSD_HOOKS_TIMEOUT: '300ms' },
      answer: () => ({ delayMs: 5000 }),
    });
    expect((await create(server)).status).toBe(500);
  });

  test('only to be told of things is in nobody’s way', async () => {
    const { server } = await start(undefined, {
      answer: ({ Type }) => (Type.startsWith('post-') ? { status: 500 } : undefined),
    });
    const url = await createUpload(server.filesUrl, 5);
    expect((await patch(url, 0, 'hello')).status).toBe(204);
    expect((await request('DELETE', url, TUS)).status).toBe(204);
  });

  test('for a moment is something that tus-js-client gets over', async () => {
    let failures = 0;
    const { server } = await start(undefined, {
      answer: ({ Type }) => {
        const fails = (Type === 'pre-create' || Type === 'pre-finish') && failures < 5;
        if (fails) failures++;
        return fails ? { reset: true } : undefined;
      },
    });
    const content = Buffer.alloc(300_000, 'landfall');
    const url = await new Promise<string>((resolve, reject) => {
      const upload = new Upload(content, {
        endpoint: server.filesUrl,
        retryDelays: [0, 100, 100, 100],
        chunkSize: 100_000,
        onError: reject,
        onSuccess: () => resolve(upload.url as string),
      });
      onTestFinished(() => upload.abort());
      upload.start();
    });
    const stored = await request('GET', url);
    const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    expect(sha256(stored.body)).toBe(sha256(content));
    expect(failures).toBe(5);
  });
});
