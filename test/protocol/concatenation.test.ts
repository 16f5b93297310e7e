import { createHash, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import type http from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, patch, request, TUS } from '../support/tus.ts';

/** tus 1.0.0, "Concatenation": each test quotes the sentence that it proves. */

const PARTIAL = { 'Upload-Concat': 'partial' };

let server: RunningServer;
beforeAll(async () => {
  server = await startServer({
    env: { LANDFALL_MAX_SIZE: '1MB', LANDFALL_LOCK_TIMEOUT: '1s' },
  });
});
afterAll(() => server.stop());

async function makePartial(content: Buffer | string, headers: http.OutgoingHttpHeaders = {}) {
  const bytes = Buffer.from(content);
  const url = await createUpload(server.filesUrl, bytes.length, { ...PARTIAL, ...headers });
  if (bytes.length > 0) expect((await patch(url, 0, bytes)).status).toBe(204);
  return url;
}

const concatenate = (list: string, headers: http.OutgoingHttpHeaders = {}) =>
  request('POST', server.filesUrl, { ...TUS, 'Upload-Concat': list, ...headers });

const finalOf = (reply: { headers: http.IncomingHttpHeaders }) =>
  new URL(reply.headers.location as string, server.filesUrl).href;

const download = async (url: string) => (await request('GET', url)).body;
const pathOf = (url: string) => new URL(url).pathname;
const idOf = (url: string) => pathOf(url).split('/').at(-1) as string;
const recordOf = async (url: string) =>
  JSON.parse((await request('GET', `${server.origin}/uploads/${idOf(url)}`)).body.toString());
const codeOf = (reply: { status: number; headers: http.IncomingHttpHeaders }) => [
  reply.status,
  reply.headers['landfall-error'],
];

describe('Concatenation', () => {
  it('"it MUST add concatenation to the Tus-Extension header"', async () => {
    const reply = await request('OPTIONS', server.filesUrl);
    const extensions = (reply.headers['tus-extension'] as string).split(',');
    expect(extensions).toContain('concatenation');
    // Nothing waits for bytes that are still to come.
    expect(extensions).not.toContain('concatenation-unfinished');
  });

  it('"Multiple partial uploads are concatenated into a final upload"', async () => {
    const urls = [await makePartial('hello '), await makePartial('big '), await makePartial('world')];
    const reply = await concatenate(`final;${urls.join(' ')}`);
    expect(reply.status).toBe(201);
    expect(reply.headers['tus-resumable']).toBe('1.0.0');
    expect(reply.headers['upload-offset']).toBe('15');
    expect((await download(finalOf(reply))).toString()).toBe('hello big world');
  });

  it('"The partial uploads MUST be concatenated as per the order specified in the list": one may occur twice', async () => {
    const [a, b] = [await makePartial('a'), await makePartial('bb')];
    const reply = await concatenate(`final;${b} ${a} ${b} ${b}`);
    expect(reply.status).toBe(201);
    expect((await download(finalOf(reply))).toString()).toBe('bbabbbb');
  });

  it('"The partial uploads URLs MAY be absolute or relative": of this server, under whatever name', async () => {
    const [a, b, c] = [await makePartial('1'), await makePartial('2'), await makePartial('3')];
    const list = `final;${pathOf(a)} ${b} https://uploads.example:8443${pathOf(c)}?x=1`;
    const reply = await concatenate(list);
    expect(reply.status).toBe(201);
    expect((await download(finalOf(reply))).toString()).toBe('123');
  });

  it('"The length of the final upload MUST be the sum of the length of all partial uploads."', async () => {
    const urls = [await makePartial(randomBytes(1000)), await makePartial(randomBytes(234))];
    const final = finalOf(await concatenate(`final;${urls.join(' ')}`));
    const { status, headers } = await head(final);
    expect(status).toBe(200);
    // "After successful concatenation, the Upload-Offset and Upload-Length MUST be set and their values MUST be equal."
    expect([headers['upload-length'], headers['upload-offset']]).toEqual(['1234', '1234']);
  });

  it('"MUST include the Upload-Concat header and its value as received in the upload creation request"', async () => {
    const [a, b] = [await makePartial('a'), await makePartial('b')];
    // "The Upload-Concat request and response header MUST be set in both partial and final upload creation requests."
    const created = await request('POST', server.filesUrl, { ...TUS, ...PARTIAL, 'Upload-Length': '1' });
    expect(created.headers['upload-concat']).toBe('partial');
    expect((await head(a)).headers['upload-concat']).toBe('partial');
    const list = `final;${a} ${pathOf(b)}`;
    const reply = await concatenate(list);
    expect(reply.headers['upload-concat']).toBe(list);
    expect((await head(finalOf(reply))).headers['upload-concat']).toBe(list);
    expect((await head(await createUpload(server.filesUrl, 1))).headers).not.toHaveProperty('upload-concat');
  });

  it('"the partial uploads’ metadata SHALL NOT be transferred to the new final upload"', async () => {
    const a = await makePartial('x', { 'Upload-Metadata': 'filename cGFydA==' });
    const metadata = 'filename d2hvbGU=,filetype dGV4dC9wbGFpbg==';
    const final = finalOf(await concatenate(`final;${a}`, { 'Upload-Metadata': metadata }));
    expect((await head(final)).headers['upload-metadata']).toBe(metadata);
    expect(await recordOf(final)).toMatchObject({ filename: 'whole', state: 'ready', partial: false });
    const bare = finalOf(
      await concatenate(`final;${await makePartial('x', { 'Upload-Metadata': 'a Yg==' })}`),
    );
    expect((await head(bare)).headers).not.toHaveProperty('upload-metadata');
  });

  it('"The Client MUST NOT include the Upload-Length header in the final upload creation.": a wrong one is refused', async () => {
    const a = await makePartial('12345');
    expect(codeOf(await concatenate(`final;${a}`, { 'Upload-Length': '6' }))).toEqual([
      400,
      'inconsistent_length',
    ]);
    expect(codeOf(await concatenate(`final;${a}`, { 'Upload-Defer-Length': '1' }))).toEqual([
      400,
      'invalid_length',
    ]);
    expect((await concatenate(`final;${a}`, { 'Upload-Length': '5' })).status).toBe(201);
  });

  it('"The Server MUST respond with the 403 Forbidden status to PATCH requests against a final upload URL"', async () => {
    const final = finalOf(await concatenate(`final;${await makePartial('abc')}`));
    for (const [offset, body] of [
      [3, 'x'],
      [3, ''],
      [0, 'abc'],
    ] as const) {
      const reply = await patch(final, offset, body);
      expect(codeOf(reply)).toEqual([403, 'final_upload']);
      // "and MUST NOT modify the final or its partial uploads."
      expect(reply.headers).not.toHaveProperty('upload-offset');
    }
    expect((await download(final)).toString()).toBe('abc');
  });

  it('a final upload takes no body of its own', async () => {
    const a = await makePartial('abc');
    const reply = await request(
      'POST',
      server.filesUrl,
      { ...TUS, 'Upload-Concat': `final;${a}`, 'Content-Type': 'application/offset+octet-stream' },
      'more',
    );
    expect(codeOf(reply)).toEqual([403, 'final_upload']);
    expect((await head(a)).headers['upload-offset']).toBe('3');
    // One that is announced and then empty is none.
    const chunked = { 'Transfer-Encoding': 'chunked' };
    expect((await concatenate(`final;${a}`, chunked)).status).toBe(201);
  });

  it('"This feature MUST be explicitly announced": it is not, so unfinished partial uploads are refused', async () => {
    const [done, open] = [await makePartial('done'), await createUpload(server.filesUrl, 5, PARTIAL)];
    await patch(open, 0, 'op');
    expect(codeOf(await concatenate(`final;${done} ${open}`))).toEqual([400, 'partial_unfinished']);
    expect((await head(open)).headers['upload-offset']).toBe('2');
    await patch(open, 2, 'en!');
    const reply = await concatenate(`final;${done} ${open}`);
    expect((await download(finalOf(reply))).toString()).toBe('doneopen!');
  });

  it('only partial uploads can be concatenated', async () => {
    const whole = await createUpload(server.filesUrl, 3);
    await patch(whole, 0, 'abc');
    const final = finalOf(await concatenate(`final;${await makePartial('x')}`));
    for (const url of [whole, final]) {
      expect(codeOf(await concatenate(`final;${await makePartial('y')} ${url}`))).toEqual([
        400,
        'invalid_concat',
      ]);
    }
  });

  it.each([
    ['', 'no list'],
    [' ', 'blanks'],
    [' /elsewhere/abcdefghijklmnopqrstuvwxyz', 'another path of this server'],
    [' https://example.com/abcdefghijklmnopqrstuvwxyz', 'another server'],
    [' ftp://localhost/files/abcdefghijklmnopqrstuvwxyz', 'another scheme'],
    [' /files/', 'no id'],
    [' /files/../files2/abcdefghijklmnopqrstuvwxyz', 'a way out'],
    [' /files/%2e%2e%2fetc', 'an id that is none'],
    [' ::::', 'no address at all'],
  ])('refuses `final;%s` (%s)', async (list) => {
    expect(codeOf(await concatenate(`final;${list}`))).toEqual([400, 'invalid_concat']);
  });

  it('refuses an upload that is not there, and values that are neither of the two', async () => {
    expect(codeOf(await concatenate(`final;/files/${'a'.repeat(32)}`))).toEqual([404, 'partial_not_found']);
    for (const value of ['partially', 'Partial', 'final', 'finally;/files/x', 'none']) {
      const reply = await request('POST', server.filesUrl, {
        ...TUS,
        'Upload-Length': '5',
        'Upload-Concat': value,
      });
      expect([value, ...codeOf(reply)]).toEqual([value, 400, 'invalid_concat']);
    }
  });

  it('refuses more than 1,000 partial uploads', async () => {
    const list = Array.from({ length: 1001 }, () => `/files/${'b'.repeat(22)}`).join(' ');
    expect(codeOf(await concatenate(`final;${list}`))).toEqual([400, 'invalid_concat']);
  });

  it('refuses a sum over LANDFALL_MAX_SIZE, and the partial uploads stay', async () => {
    const half = await makePartial(randomBytes(600_000));
    expect(codeOf(await concatenate(`final;${half} ${half}`))).toEqual([413, 'size_limit']);
    expect((await head(half)).headers['upload-offset']).toBe('600000');
    expect((await concatenate(`final;${half}`)).status).toBe(201);
  });

  it('concatenates empty partial uploads', async () => {
    const empty = await makePartial('');
    expect((await concatenate(`final;${empty}`)).headers['upload-offset']).toBe('0');
    const [a, b, c] = [await makePartial(''), await makePartial('mid'), await makePartial('')];
    expect((await download(finalOf(await concatenate(`final;${a} ${b} ${c}`)))).toString()).toBe('mid');
  });

  it('the 201 comes after everything: repeated, the request gets the same answer, and the partials look full', async () => {
    const urls = [await makePartial('one '), await makePartial('two')];
    const first = await concatenate(`final;${urls.join(' ')}`);
    // A client that missed the answer looks at the partial uploads first (tus-js-client), then asks again.
    for (const [index, length] of [[0, '4'] as const, [1, '3'] as const]) {
      const { status, headers } = await head(urls[index] as string);
      expect([status, headers['upload-offset'], headers['upload-length']]).toEqual([200, length, length]);
      expect(headers['upload-concat']).toBe('partial');
    }
    const again = await concatenate(`final;${urls.map(pathOf).join(' ')}`);
    expect([again.status, finalOf(again)]).toEqual([201, finalOf(first)]);
    // What they were is gone: no other upload can be made of them, and nothing written.
    expect(codeOf(await concatenate(`final;${urls[1]}`))).toEqual([404, 'partial_not_found']);
    expect((await patch(urls[0] as string, 4, 'x')).status).toBe(410);
    expect((await request('GET', urls[0] as string)).status).toBe(410);
    expect(await recordOf(urls[0] as string)).toMatchObject({
      state: 'aborted',
      partial: true,
      reason: { code: 'concatenated', message: idOf(finalOf(first)) },
    });
  });

  it('two requests at once: the same list makes one upload, another list is told that its partials are gone', async () => {
    const urls = [await makePartial('aa'), await makePartial('bb'), await makePartial('cc')];
    const list = `final;${urls.join(' ')}`;
    const replies = await Promise.all([concatenate(list), concatenate(list), concatenate(list)]);
    expect(replies.map((reply) => reply.status)).toEqual([201, 201, 201]);
    expect(new Set(replies.map(finalOf)).size).toBe(1);
    const others = [await makePartial('dd'), await makePartial('ee')];
    const [one, other] = await Promise.all([
      concatenate(`final;${others.join(' ')}`),
      concatenate(`final;${others.toReversed().join(' ')}`),
    ]);
    const statuses = [one?.status, other?.status].sort();
    expect(statuses).toEqual([201, 404]);
    const winner = one?.status === 201 ? one : other;
    expect((await download(finalOf(winner as typeof one))).toString()).toBe(
      one?.status === 201 ? 'ddee' : 'eedd',
    );
  });

  it('the declared digest of the final upload is verified by reading it', async () => {
    const content = randomBytes(5000);
    const digest = createHash('sha256').update(content).digest('base64');
    const checksum = (text: string) => ({
      'Upload-Metadata': `checksum ${Buffer.from(`sha256 ${text}`).toString('base64')}`,
    });
    const good = await concatenate(
      `final;${await makePartial(content.subarray(0, 100))} ${await makePartial(content.subarray(100))}`,
      checksum(digest),
    );
    await expect.poll(async () => (await recordOf(finalOf(good))).state).toBe('ready');
    expect(await download(finalOf(good))).toEqual(content);
    const bad = await concatenate(`final;${await makePartial('something else')}`, checksum(digest));
    await expect.poll(async () => (await recordOf(finalOf(bad))).state).toBe('rejected');
    expect((await request('GET', finalOf(bad))).status).toBe(410);
  });

  it('a final upload is deleted like any other; so is a partial one', async () => {
    const part = await makePartial('abc');
    expect((await request('DELETE', part, TUS)).status).toBe(204);
    expect(codeOf(await concatenate(`final;${part}`))).toEqual([404, 'partial_not_found']);
    const used = await makePartial('abc');
    const final = finalOf(await concatenate(`final;${used}`));
    expect((await request('DELETE', final, TUS)).status).toBe(204);
    expect((await head(final)).status).toBe(410);
    // It is not made again from what is gone.
    expect((await concatenate(`final;${used}`)).status).toBe(410);
  });

  it('a partial upload is no original: it is not served, and says what it is', async () => {
    const part = await makePartial('abc');
    expect(codeOf(await request('GET', part))).toEqual([409, 'upload_unfinished']);
    expect(await recordOf(part)).toMatchObject({
      state: 'receiving',
      partial: true,
      offset: 3,
      reason: null,
    });
    // It expires, too, when nobody makes a final upload of it.
    expect((await head(part)).headers).toHaveProperty('upload-expires');
  });

  it('a partial upload that is finished and never used expires; what was made of others does not', async () => {
    const shortLived = await startServer({
      env: { LANDFALL_EXPIRATION: '2s', LANDFALL_SWEEP_INTERVAL: '200ms' },
    });
    const urls: string[] = [];
    for (const content of ['used', 'unused']) {
      const url = await createUpload(shortLived.filesUrl, content.length, PARTIAL);
      await patch(url, 0, content);
      urls.push(url);
    }
    const [used, unused] = urls as [string, string];
    const made = await request('POST', shortLived.filesUrl, { ...TUS, 'Upload-Concat': `final;${used}` });
    const final = finalOf(made);
    await expect
      .poll(async () => (await readdir(join(shortLived.dataDir, 'uploads'))).sort(), { timeout: 10_000 })
      .toEqual([idOf(final), `${idOf(final)}.json`].sort());
    expect((await head(unused)).status).toBe(410);
    const late = await request('POST', shortLived.filesUrl, { ...TUS, 'Upload-Concat': `final;${unused}` });
    expect(codeOf(late)).toEqual([404, 'partial_not_found']);
    expect((await request('GET', new URL(pathOf(final), shortLived.origin).href)).body.toString()).toBe(
      'used',
    );
    await shortLived.stop();
  });
});
