import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chunked, LAST_CHUNK, openWire, sendWire, type WireReply } from '../support/rufh.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/*
 * What earlier revisions of draft-ietf-httpbis-resumable-upload ask of a server and the newest one does not. The
 * number of the revision stands before the quote; interop version 3 is -01, 5 is -03, 6 is -05, 7 is -08.
 */

const PARTIAL = { 'Content-Type': 'application/partial-upload' };
const ORIGINAL_PROBLEMS = 'https://iana.org/assignments/http-problem-types#';

let server: RunningServer;

beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

type Headers = Record<string, string>;

const named = (interop: number) => ({ 'Upload-Draft-Interop-Version': String(interop) });
async function createPart(interop: number, body: string, headers: Headers = {}): Promise<string> {
  const incomplete = interop === 3 ? { 'Upload-Incomplete': '?1' } : { 'Upload-Complete': '?0' };
  const reply = await sendWire(
    server.filesUrl,
    'POST',
    { ...named(interop), ...incomplete, ...headers },
    body,
  );
  expect(reply.status).toBe(201);
  return new URL(reply.headers.location as string, server.filesUrl).href;
}
const append = (url: string, interop: number, offset: number, body: string, headers: Headers = {}) =>
  sendWire(
    url,
    'PATCH',
    { ...named(interop), ...PARTIAL, 'Upload-Offset': String(offset), ...headers },
    body,
  );
const retrieve = (url: string, interop: number) => sendWire(url, 'HEAD', named(interop));
const stateOf = (reply: WireReply, name = 'upload-complete') => [
  reply.status,
  reply.headers['upload-offset'],
  reply.headers[name],
];

describe('-01, interop version 3', () => {
  it('"The server MUST reject the request with the Upload-Offset header or the Upload-Incomplete header by sending a 400 (Bad Request) response": HEAD and DELETE', async () => {
    const url = await createPart(3, 'hello');
    for (const method of ['HEAD', 'DELETE']) {
      for (const header of [{ 'Upload-Offset': '5' }, { 'Upload-Incomplete': '?1' }] as Headers[]) {
        expect((await sendWire(url, method, { ...named(3), ...header })).status).toBe(400);
      }
    }
    expect(stateOf(await retrieve(url, 3), 'upload-incomplete')).toEqual([204, '5', '?1']);
  });

  it('"An upload is considered complete if […] the Upload-Incomplete header field being omitted or set to false"', async () => {
    const url = await createPart(3, 'hel');
    expect(stateOf(await append(url, 3, 3, 'lo'), 'upload-incomplete')).toEqual([201, '5', '?0']);
    expect(stateOf(await retrieve(url, 3), 'upload-incomplete')).toEqual([204, '5', '?0']);
  });

  it('"The request MUST include the Upload-Incomplete header field": one of the other name is not it', async () => {
    const reply = await sendWire(server.filesUrl, 'POST', { ...named(3), 'Upload-Complete': '?1' }, 'hello');
    expect([reply.status, JSON.parse(reply.body).code]).toEqual([400, 'invalid_header']);
  });

  it('without a version that we know the header alone makes a request one of this draft', async () => {
    const reply = await sendWire(server.filesUrl, 'POST', { 'Upload-Incomplete': '?0' }, 'hello');
    expect([...stateOf(reply, 'upload-incomplete'), reply.interims]).toEqual([201, '5', '?0', []]);
  });
});

describe('-03 and -05, interop versions 5 and 6', () => {
  it.each([5, 6])(
    'version %i: "The server MUST reject requests with either of these fields by responding with a 400 (Bad Request)"',
    async (interop) => {
      const url = await createPart(interop, 'hello');
      for (const header of [
        { 'Upload-Offset': '5' },
        { 'Upload-Complete': '?1' },
        { 'Upload-Length': '5' },
      ] as Headers[]) {
        expect((await sendWire(url, 'HEAD', { ...named(interop), ...header })).status).toBe(400);
      }
      expect((await sendWire(url, 'DELETE', { ...named(interop), 'Upload-Complete': '?0' })).status).toBe(
        400,
      );
      expect((await retrieve(url, interop)).status).toBe(204);
    },
  );

  it.each([5, 6])(
    'version %i: an append that "does not indicate that the upload is then completed" does not complete it',
    async (interop) => {
      const url = await createPart(interop, 'hel');
      expect(stateOf(await append(url, interop, 3, 'l'))).toEqual([201, '4', '?0']);
      expect(stateOf(await append(url, interop, 4, 'o', { 'Upload-Complete': '?1' }))).toEqual([
        201,
        '5',
        '?1',
      ]);
    },
  );

  it('-03 has no media type for appends, -05: "The request MUST use the PATCH method with the application/partial-upload media type"', async () => {
    const statuses = [];
    for (const interop of [5, 6]) {
      const url = await createPart(interop, 'hel');
      const headers = { 'Content-Type': 'image/png', 'Upload-Complete': '?1' };
      statuses.push((await append(url, interop, 3, 'lo', headers)).status);
    }
    expect(statuses).toEqual([201, 415]);
  });

  it.each([5, 6])(
    'version %i: an upload whose declared length is reached is complete, and a completing request finds it so',
    async (interop) => {
      const url = await createPart(interop, 'hel', { 'Upload-Length': '5' });
      expect(stateOf(await append(url, interop, 3, 'lo', { 'Upload-Complete': '?0' }))).toEqual([
        201,
        '5',
        '?1',
      ]);
      expect((await request('GET', url)).body.toString()).toBe('hello');
      expect(stateOf(await append(url, interop, 5, '', { 'Upload-Complete': '?1' }))).toEqual([
        201,
        '5',
        '?1',
      ]);
    },
  );

  it('-05: "If the upload is already complete, the server MUST NOT modify the upload resource and MUST respond with a 400 (Bad Request)"', async () => {
    const url = await createPart(6, 'hello', { 'Upload-Complete': '?1' });
    const reply = await append(url, 6, 5, 'more', { 'Upload-Complete': '?1' });
    expect([reply.status, JSON.parse(reply.body).type]).toEqual([
      400,
      `${ORIGINAL_PROBLEMS}completed-upload`,
    ]);
    expect((await request('GET', url)).body.toString()).toBe('hello');
  });

  it('-05: "the server MUST stop appending bytes to the upload once the offset reaches the final size and reject the request with a 400 (Bad Request)": the upload lives on', async () => {
    const url = await createPart(6, 'hel', { 'Upload-Length': '5' });
    const open = await openWire(url, 'PATCH', {
      ...named(6),
      ...PARTIAL,
      'Upload-Offset': '3',
      'Upload-Complete': '?1',
      'Transfer-Encoding': 'chunked',
    });
    await open.write(chunked('lo and more'));
    await open.write(LAST_CHUNK);
    const reply = await open.reply;
    expect(stateOf(reply)).toEqual([400, '3', '?0']);
    expect(stateOf(await append(url, 6, 3, 'lo', { 'Upload-Complete': '?1' }))).toEqual([201, '5', '?1']);
  });

  it('-05: "The server MUST send the Upload-Offset header field in the response if it considers the upload active, either when the response is a success […] or when the response is a failure"', async () => {
    const url = await createPart(6, 'hel', { 'Upload-Length': '5' });
    const replies = [
      await append(url, 6, 0, 'x', { 'Upload-Complete': '?1' }),
      await append(url, 6, 3, 'l', { 'Upload-Complete': '?1' }),
      await append(url, 6, 3, 'lo', { 'Upload-Complete': '?0', 'Upload-Length': '6' }),
    ];
    expect(replies.map((reply) => stateOf(reply))).toEqual([
      [409, '3', '?0'],
      [400, '3', '?0'],
      [400, '3', '?0'],
    ]);
  });
});

describe('-08, interop version 7', () => {
  it('"If the request didn\'t complete the upload, any response, successful or not, MUST include the Upload-Complete header field with a false value"', async () => {
    const url = await createPart(7, 'hel');
    const replies = [
      await append(url, 7, 3, 'l', { 'Upload-Complete': '?0' }),
      await append(url, 7, 0, 'x', { 'Upload-Complete': '?1' }),
      await append(url, 7, 4, 'o'),
      await append(url, 7, 4, 'o', { 'Content-Type': 'text/plain', 'Upload-Complete': '?1' }),
      await append(`${server.filesUrl}/${'A'.repeat(32)}`, 7, 4, 'o', { 'Upload-Complete': '?1' }),
    ];
    expect(replies.map((reply) => [reply.status, reply.headers['upload-complete']])).toEqual([
      [204, '?0'],
      [409, '?0'],
      [400, '?0'],
      [415, '?0'],
      [404, '?0'],
    ]);
  });

  it('"If the upload is already complete […], the server MUST NOT modify the upload resource and MUST reject the request": bytes for it', async () => {
    const url = await createPart(7, 'hello', { 'Upload-Complete': '?1' });
    const reply = await append(url, 7, 5, 'more', { 'Upload-Complete': '?1' });
    expect([reply.status, JSON.parse(reply.body).type]).toEqual([
      400,
      `${ORIGINAL_PROBLEMS}completed-upload`,
    ]);
  });
});
