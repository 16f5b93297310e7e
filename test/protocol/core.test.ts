import http from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRequest } from '../support/raw-request.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * tus 1.0.0, "Core Protocol": https://tus.io/protocols/resumable-upload#core-protocol
 * Sentences in titles are the specification's. [!]: @tus/server 2.4.5 does it differently.
 */

let server: RunningServer;
let limited: RunningServer;

beforeAll(async () => {
  server = await startServer();
  limited = await startServer({ env: { LANDFALL_MAX_SIZE: '1000', LANDFALL_EXPIRATION: 'off' } });
});
afterAll(async () => {
  await server.stop();
  await limited.stop();
});

async function offsetOf(url: string): Promise<string | undefined> {
  return (await head(url)).headers['upload-offset'] as string | undefined;
}

describe('Upload-Offset, Upload-Length', () => {
  it.each([
    '-1',
    '1.5',
    '1e3',
    '0x10',
    '+1',
    '',
    '1, 1',
    'NaN',
    '９'.normalize('NFC'),
    '18446744073709551616',
  ])('"The value MUST be a non-negative integer": an Upload-Offset of "%s" is refused', async (value) => {
    const url = await createUpload(server.filesUrl, 10);
    const reply = await request(
      'PATCH',
      url,
      { ...TUS, ...PATCH_TYPE, 'Upload-Offset': Buffer.from(value).toString('latin1') },
      'hello',
    );
    expect(reply.status).toBe(400);
    expect(reply.body.toString()).toContain('Upload-Offset');
    expect(reply.headers['upload-offset']).toBeUndefined();
    expect(await offsetOf(url)).toBe('0');
  });

  it('a PATCH without Upload-Offset is refused', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const reply = await request('PATCH', url, { ...TUS, ...PATCH_TYPE }, 'hello');
    expect(reply.status).toBe(400);
    expect(await offsetOf(url)).toBe('0');
  });
});

describe('Tus-Resumable', () => {
  it('"MUST be included in every … response": successes', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const replies = [
      await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '1' }),
      await head(url),
      await patch(url, 0, 'hello'),
      await request('DELETE', url, TUS),
      await request('OPTIONS', server.filesUrl),
    ];
    expect(replies.map((reply) => reply.status)).toEqual([201, 200, 204, 204, 204]);
    for (const reply of replies) expect(reply.headers['tus-resumable']).toBe('1.0.0');
  });

  it('"MUST be included in every … response": errors, whoever notices them', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const cases: [string, string, http.OutgoingHttpHeaders, number][] = [
      ['POST', server.filesUrl, TUS, 400],
      ['HEAD', `${server.filesUrl}/unknown`, TUS, 404],
      ['HEAD', `${server.filesUrl}/${'long'.repeat(1000)}`, TUS, 404],
      ['HEAD', `${server.filesUrl}/a/b`, TUS, 404],
      ['HEAD', `${server.filesUrl}/%zz`, TUS, 404],
      ['PATCH', url, { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '3' }, 409],
      ['PATCH', url, { ...TUS, 'Upload-Offset': '0' }, 415],
      ['PATCH', server.filesUrl, { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '0' }, 405],
      ['POST', url, { ...TUS, 'Upload-Length': '1' }, 405],
      ['PUT', url, TUS, 405],
      ['TRACE', url, TUS, 405],
      ['HEAD', url, {}, 412],
    ];
    for (const [method, target, headers, status] of cases) {
      const reply = await request(method, target, headers);
      expect([method, target, reply.status]).toEqual([method, target, status]);
      expect([method, target, reply.headers['tus-resumable']]).toEqual([method, target, '1.0.0']);
    }
  });

  it('a method that an address does not take is a 405 that says which ones it takes (RFC 9110, 15.5.6)', async () => {
    const url = await createUpload(server.filesUrl, 5);
    expect((await request('PUT', url, TUS)).headers.allow).toBe('HEAD, GET, PATCH, DELETE, OPTIONS');
    expect((await request('GET', server.filesUrl, TUS)).headers.allow).toBe('POST, PUT, OPTIONS');
  });

  // [!] stock answers a missing one as if it were there
  it.each([
    ['unsupported', { 'Tus-Resumable': '0.2.2' }],
    ['missing', {}],
    ['empty', { 'Tus-Resumable': '' }],
    ['given twice', { 'Tus-Resumable': ['1.0.0', '1.0.0'] }],
  ])(
    '"If the version specified by the Client is not supported by the Server, it MUST respond with the 412 Precondition Failed status and MUST include the Tus-Version header into the response. In addition, the Server MUST NOT process the request": %s',
    async (_name, headers) => {
      const url = await createUpload(server.filesUrl, 5);
      const replies = [
        await request('POST', server.filesUrl, { ...headers, 'Upload-Length': '5' }),
        await request('HEAD', url, headers),
        await request('PATCH', url, { ...headers, ...PATCH_TYPE, 'Upload-Offset': '0' }, 'hello'),
        await request('DELETE', url, headers),
      ];
      for (const reply of replies) {
        expect(reply.status).toBe(412);
        expect(reply.headers['tus-version']).toBe('1.0.0');
        expect(reply.headers.location).toBeUndefined();
        expect(reply.headers['upload-offset']).toBeUndefined();
      }
      expect(await offsetOf(url)).toBe('0');
    },
  );
});

describe('OPTIONS', () => {
  it('"A successful response indicated by the 204 No Content or 200 OK status MUST contain the Tus-Version header"', async () => {
    for (const url of [server.filesUrl, `${server.filesUrl}/`, await createUpload(server.filesUrl, 1)]) {
      const reply = await request('OPTIONS', url);
      expect(reply.status).toBe(204);
      expect(reply.headers['tus-version']).toBe('1.0.0');
    }
  });

  it('"Tus-Extension … MUST be a comma-separated list of the extensions supported by the Server"', async () => {
    const reply = await request('OPTIONS', server.filesUrl);
    expect((reply.headers['tus-extension'] as string).split(',').sort()).toEqual([
      'checksum',
      'checksum-trailer',
      'concatenation',
      'creation',
      'creation-defer-length',
      'creation-with-upload',
      'expiration',
      'termination',
    ]);
  });

  it('"Tus-Max-Size … MUST be a non-negative integer": where there is a limit, and only there', async () => {
    expect((await request('OPTIONS', limited.filesUrl)).headers['tus-max-size']).toBe('1000');
    expect((await request('OPTIONS', server.filesUrl)).headers['tus-max-size']).toBeUndefined();
  });

  it.each(['0.2.2', '1.0.0', 'nonsense'])(
    '"The Client SHOULD NOT include the Tus-Resumable header in the request and the Server MUST ignore the header": %s',
    async (version) => {
      const reply = await request('OPTIONS', server.filesUrl, { 'Tus-Resumable': version });
      expect(reply.status).toBe(204);
      expect(reply.headers['tus-resumable']).toBe('1.0.0');
    },
  );
});

describe('X-HTTP-Method-Override', () => {
  // [!]
  it('"MUST be interpreted as the request\'s method by the Server, if the header is presented. The actual method of the request MUST be ignored"', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const override = (method: string) => ({ ...TUS, 'X-HTTP-Method-Override': method });
    const patched = await request(
      'POST',
      url,
      { ...override('PATCH'), ...PATCH_TYPE, 'Upload-Offset': '0' },
      'hel',
    );
    expect([patched.status, patched.headers['upload-offset']]).toEqual([204, '3']);
    const headed = await request('POST', url, override('HEAD'));
    expect([headed.status, headed.headers['upload-offset'], headed.body.length]).toEqual([200, '3', 0]);
    const asked = await request('POST', url, { 'X-HTTP-Method-Override': 'OPTIONS' });
    expect([asked.status, asked.headers['tus-version']]).toEqual([204, '1.0.0']);
    const created = await request('PATCH', server.filesUrl, { ...override('POST'), 'Upload-Length': '1' });
    expect(created.status).toBe(201);
    // The actual method is ignored also where it alone would have worked.
    expect((await request('DELETE', url, override('HEAD'))).status).toBe(200);
    expect((await request('POST', url, override('delete'))).status).toBe(204);
    expect((await head(url)).status).toBe(410);
  });

  it('one that we do not know is a method that we do not take', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const reply = await request('DELETE', url, { ...TUS, 'X-HTTP-Method-Override': 'BREW' });
    expect(reply.status).toBe(405);
    expect((await head(url)).status).toBe(200);
  });
});

describe('HEAD', () => {
  it('"The Server MUST always include the Upload-Offset header in the response for a HEAD request, even if the offset is 0, or the upload is already considered completed"', async () => {
    const url = await createUpload(server.filesUrl, 5);
    expect(await offsetOf(url)).toBe('0');
    await patch(url, 0, 'hel');
    expect(await offsetOf(url)).toBe('3');
    await patch(url, 3, 'lo');
    expect(await offsetOf(url)).toBe('5');
  });

  it('"If the size of the upload is known, the Server MUST include the Upload-Length header in the response"', async () => {
    const reply = await head(await createUpload(server.filesUrl, 5));
    expect([reply.status, reply.headers['upload-length']]).toEqual([200, '5']);
  });

  it('"If the resource is not found, the Server SHOULD return either the 404 Not Found, 410 Gone or 403 Forbidden status without the Upload-Offset header"', async () => {
    for (const id of ['unknown', 'A'.repeat(32), '..%2f..%2fetc%2fpasswd']) {
      const reply = await head(`${server.filesUrl}/${id}`);
      expect(reply.status).toBe(404);
      expect(reply.headers['upload-offset']).toBeUndefined();
      expect(reply.headers['upload-length']).toBeUndefined();
    }
  });

  // [!] stock leaves it out of its errors
  it('"The Server MUST prevent the client and/or proxies from caching the response by adding the Cache-Control: no-store header": also of its errors', async () => {
    const url = await createUpload(server.filesUrl, 5);
    for (const [target, headers, status] of [
      [url, TUS, 200],
      [`${server.filesUrl}/${'A'.repeat(32)}`, TUS, 404],
      [server.filesUrl, TUS, 405],
      [url, {}, 412],
    ] as const) {
      const reply = await request('HEAD', target, headers);
      expect([reply.status, reply.headers['cache-control']]).toEqual([status, 'no-store']);
    }
  });

  it('an upload URL may carry a query', async () => {
    const url = await createUpload(server.filesUrl, 5);
    expect((await patch(`${url}?token=a/b&x`, 0, 'hel')).status).toBe(204);
    expect((await head(`${url}?token=a/b&x`)).headers['upload-offset']).toBe('3');
    expect((await head(`${url}/?`)).headers['upload-offset']).toBe('3');
  });
});

describe('PATCH', () => {
  // [!]
  it.each([
    undefined,
    'application/octet-stream',
    'application/json',
    'text/plain',
    '',
    'application/offset',
  ])(
    '"All PATCH requests MUST use Content-Type: application/offset+octet-stream, otherwise the server SHOULD return a 415 Unsupported Media Type status": %s',
    async (type) => {
      const url = await createUpload(server.filesUrl, 5);
      const headers = {
        ...TUS,
        'Upload-Offset': '0',
        ...(type === undefined ? {} : { 'Content-Type': type }),
      };
      const reply = await request('PATCH', url, headers, type === 'application/json' ? '{"a":' : 'hello');
      expect(reply.status).toBe(415);
      expect(await offsetOf(url)).toBe('0');
    },
  );

  it('a media type is the same in any case and with parameters (RFC 9110, 8.3.1)', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const reply = await patch(url, 0, 'hello', {
      'Content-Type': 'Application/Offset+Octet-Stream; charset=utf-8',
    });
    expect(reply.status).toBe(204);
  });

  it('"If the offsets do not match, the Server MUST respond with the 409 Conflict status without modifying the upload resource"', async () => {
    const url = await createUpload(server.filesUrl, 10);
    await patch(url, 0, 'hello');
    for (const offset of [0, 4, 6, 10, 11]) {
      const reply = await patch(url, offset, 'x');
      expect(reply.status).toBe(409);
      expect(reply.headers['upload-offset']).toBeUndefined();
      expect(reply.body.toString()).toMatch(/offset/i);
    }
    expect((await patch(url, 5, 'world')).status).toBe(204);
    expect((await request('GET', url)).body.toString()).toBe('helloworld');
  });

  it('"The Server MUST acknowledge successful PATCH requests with the 204 No Content status. It MUST include the Upload-Offset header containing the new offset"', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const reply = await patch(url, 0, 'hello');
    expect([reply.status, reply.headers['upload-offset'], reply.body.length]).toEqual([204, '5', 0]);
    expect(reply.headers['content-length']).toBeUndefined();
  });

  it('"The new offset MUST be the sum of the offset before the PATCH request and the number of bytes received": of none', async () => {
    const url = await createUpload(server.filesUrl, 10);
    await patch(url, 0, 'hello');
    const reply = await patch(url, 5, '');
    expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '5']);
  });

  it('the number of bytes is what Content-Length says, however it is written (RFC 9110, 8.6: 1*DIGIT)', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const reply = await patch(url, 0, 'hello', { 'Content-Length': '0005' });
    expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '5']);
    const empty = await patch(url, 5, '', { 'Content-Length': '000' });
    expect([empty.status, empty.headers['upload-offset']]).toEqual([204, '5']);
  });

  it('"If the server receives a PATCH request against a non-existent resource it SHOULD return a 404 Not Found status"', async () => {
    const reply = await patch(`${server.filesUrl}/${'A'.repeat(32)}`, 0, 'hello');
    expect(reply.status).toBe(404);
  });

  it('"The Server SHOULD always attempt to store as much of the received data as possible": all that reached it', async () => {
    const url = await createUpload(server.filesUrl, 1_000_000);
    const cut = await openRequest('PATCH', url, {
      ...TUS,
      ...PATCH_TYPE,
      'Upload-Offset': '0',
      'Content-Length': '1000000',
    });
    await cut.write(Buffer.alloc(300_000, 'a'));
    // "Received" are bytes that the process has read: what the kernel still holds is lost with the connection.
    const record = `${server.origin}/uploads/${url.split('/').at(-1)}`;
    const takenBytes = async () => JSON.parse((await request('GET', record)).body.toString()).offset;
    await expect.poll(takenBytes, { timeout: 10_000 }).toBe(300_000);
    cut.cut();
    expect(await offsetOf(url)).toBe('300000');
    expect((await patch(url, 300_000, Buffer.alloc(700_000, 'b'))).status).toBe(204);
    const { body } = await request('GET', url);
    expect(body.equals(Buffer.concat([Buffer.alloc(300_000, 'a'), Buffer.alloc(700_000, 'b')]))).toBe(true);
  });

  it('a declared body that is longer than the rest of the upload is a 413, and nothing of it is stored', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const reply = await patch(url, 0, 'hello!');
    expect(reply.status).toBe(413);
    expect(await offsetOf(url)).toBe('0');
  });

  it('errors keep the connection when the body was small, and close it, after the answer, when it was large', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set<unknown>();
    const onAgent = (body: Buffer) =>
      new Promise<http.IncomingMessage>((resolve, reject) => {
        const headers = { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '7', 'Content-Length': body.length };
        const req = http.request(url, { method: 'PATCH', agent, headers }, (res) => {
          res.resume();
          res.on('end', () => resolve(res));
        });
        req.on('socket', (socket) => sockets.add(socket));
        req.on('error', reject);
        req.end(body);
      });
    for (const size of [0, 5, 1000]) {
      const res = await onAgent(Buffer.alloc(size));
      expect(res.statusCode).toBe(409);
      expect(res.headers.connection).not.toBe('close');
    }
    expect(sockets.size).toBe(1);
    const res = await onAgent(Buffer.alloc(5_000_000));
    expect(res.statusCode).toBe(409);
    expect(res.headers.connection).toBe('close');
    agent.destroy();
  });

  it('an empty PATCH at the end is answered, and does not finish the upload a second time', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const id = url.slice(url.lastIndexOf('/') + 1);
    await patch(url, 0, 'hello');
    const record = async () =>
      JSON.parse((await request('GET', `${server.origin}/uploads/${id}`)).body.toString());
    const before = await record();
    expect(before).toMatchObject({ state: 'ready', offset: 5 });
    const again = await patch(url, 5, '');
    expect([again.status, again.headers['upload-offset']]).toEqual([204, '5']);
    expect(await record()).toEqual(before);
  });

  it('no limit is set on how long a request may take: a body may take days', async () => {
    // Node ends a request after 300 s by itself. The head may take a minute, the body as long as it flows.
    const { buildApp } = await import('../../server/app.ts');
    const { loadConfig } = await import('../../server/config.ts');
    const app = await buildApp(
      loadConfig({
        env: { LANDFALL_DATA_DIR: `${server.dataDir}/limits`, LANDFALL_LOG_LEVEL: 'silent' },
      }),
    );
    try {
      expect(app.fastify.server.requestTimeout).toBe(0);
      expect(app.fastify.server.timeout).toBe(0);
      expect(app.fastify.server.headersTimeout).toBe(60_000);
    } finally {
      await app.close();
    }
  });
});
