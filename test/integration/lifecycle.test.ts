import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectRaw } from '../support/raw-http.ts';
import { openRequest } from '../support/raw-request.ts';
import { until } from '../support/redis.ts';
import { type RunningServer, type StartServerOptions, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

let dataDir: string;
const running: RunningServer[] = [];

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'landfall-lifecycle-'));
});
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop('SIGKILL');
  await rm(dataDir, { recursive: true });
});

async function start(
  env: Record<string, string> = {},
  options: StartServerOptions = {},
): Promise<RunningServer> {
  const server = await startServer({ dataDir, env, ...options });
  running.push(server);
  return server;
}

const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);
const portOf = (server: RunningServer) => Number(new URL(server.origin).port);

async function records(server: RunningServer): Promise<Record<string, unknown>[]> {
  return JSON.parse((await request('GET', `${server.origin}/uploads?limit=1000`)).body.toString()).uploads;
}

/** Until the server has taken so many bytes: it says so once a second. Asking does not disturb the request. */
async function untilTaken(server: RunningServer, id: string, bytes: number): Promise<void> {
  await until(async () => {
    const reply = await request('GET', `${server.origin}/uploads/${id}`);
    return JSON.parse(reply.body.toString()).offset === bytes;
  });
}

function patchHeaders(offset: number, length: number): http.OutgoingHttpHeaders {
  return { ...TUS, ...PATCH_TYPE, 'Upload-Offset': String(offset), 'Content-Length': String(length) };
}

describe('SIGTERM', () => {
  it('drains a running PATCH: its bytes are kept, its client is told to resume, the process ends with 0', async () => {
    const server = await start();
    const url = await createUpload(server.filesUrl, 1_000_000);
    const body = await openRequest('PATCH', url, patchHeaders(0, 1_000_000));
    await body.write(Buffer.alloc(300_000, 'a'));
    await untilTaken(server, idOf(url), 300_000);
    const startedAt = performance.now();
    const stopped = server.stop('SIGTERM');
    const reply = await body.reply;
    expect([reply.status, reply.headers['retry-after'], reply.headers.connection]).toEqual([
      503,
      '1',
      'close',
    ]);
    expect(reply.headers['landfall-error']).toBe('shutting_down');
    expect(reply.headers['upload-offset']).toBeUndefined();
    expect(await stopped).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(8_000);

    const next = await start({}, { port: portOf(server) });
    expect((await head(url)).headers['upload-offset']).toBe('300000');
    expect((await patch(url, 300_000, Buffer.alloc(700_000, 'b'))).status).toBe(204);
    const { body: content } = await request('GET', url);
    expect(content.equals(Buffer.concat([Buffer.alloc(300_000, 'a'), Buffer.alloc(700_000, 'b')]))).toBe(
      true,
    );
    expect(await next.stop()).toBe(0);
  });

  it('does not wait for clients that stay connected', async () => {
    const server = await start();
    const url = await createUpload(server.filesUrl, 1000);
    const agent = new http.Agent({ keepAlive: true });
    await new Promise((resolve, reject) => {
      http
        .get(`${server.origin}/health/live`, { agent }, (res) => res.resume().on('end', resolve))
        .on('error', reject);
    });
    const half = await connectRaw(portOf(server));
    half.write('GET /health/live HTTP/1.1\r\n');
    const body = await openRequest('PATCH', url, patchHeaders(0, 1000));
    await body.write('hello');
    await untilTaken(server, idOf(url), 5);
    const startedAt = performance.now();
    const stopped = server.stop('SIGTERM');
    expect((await body.reply).status).toBe(503);
    expect(await stopped).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    agent.destroy();
    half.destroy();
  });

  it('a creation with upload is told how far it came', async () => {
    const server = await start();
    const post = await openRequest('POST', server.filesUrl, {
      ...TUS,
      ...PATCH_TYPE,
      'Upload-Length': '10',
      'Content-Length': '10',
    });
    await post.write('hello');
    await until(async () => (await records(server)).some(({ offset }) => offset === 5));
    const stopped = server.stop('SIGTERM');
    const reply = await post.reply;
    expect([reply.status, reply.headers['upload-offset']]).toEqual([201, '5']);
    expect(await stopped).toBe(0);
    const next = await start();
    const url = new URL(reply.headers.location as string, next.filesUrl).href;
    expect((await patch(url, 5, 'world')).status).toBe(204);
    expect((await request('GET', url)).body.toString()).toBe('helloworld');
  });

  it('meanwhile it is not ready, starts nothing new, tells a HEAD to ask again, and ends what it sends', async () => {
    const server = await start({ LANDFALL_LOG_LEVEL: 'info' });
    const content = Buffer.alloc(20_000_000, 'abcdefghij');
    const url = await createUpload(server.filesUrl, content.length);
    await patch(url, 0, content);
    // A download that is not read keeps the process busy.
    const download = await new Promise<http.IncomingMessage>((resolve, reject) => {
      http.get(url, { agent: false }, resolve).on('error', reject);
    });
    const path = new URL(url).pathname;
    const asked = await Promise.all(
      [
        'GET /health/ready',
        'GET /health/live',
        `HEAD ${path}`,
        'POST /files',
        'GET /uploads',
        `GET ${path}`,
      ].map(async (line) => {
        // A head that has begun keeps its connection open when the others are closed.
        const socket = await connectRaw(portOf(server));
        let text = '';
        socket.on('data', (chunk) => {
          text += chunk.toString('latin1');
        });
        const closed = new Promise((resolve) => socket.once('close', resolve));
        socket.write(`${line} HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://page.example\r\n`);
        return {
          async finish() {
            socket.write('Tus-Resumable: 1.0.0\r\nUpload-Length: 1\r\n\r\n');
            await closed;
            return text;
          },
        };
      }),
    );
    // What was sent before this request has been read when it is answered.
    await request('GET', `${server.origin}/health/live`);
    const stopped = server.stop('SIGTERM');
    await until(() => server.output().includes('shutting down'));
    const [ready, live, headed, posted, listed, got] = await Promise.all(asked.map((one) => one.finish()));
    expect(ready).toMatch(/^HTTP\/1.1 503 /);
    expect(live).toMatch(/^HTTP\/1.1 200 /);
    // tus-js-client takes any other error of a HEAD for the end of its upload, and starts from zero.
    expect(headed).toMatch(/^HTTP\/1.1 423 .*\r\nretry-after: 1\r\n/is);
    expect(posted).toMatch(/^HTTP\/1.1 503 .*\r\ntus-resumable: 1\.0\.0\r\n/is);
    expect(listed).toMatch(/^HTTP\/1.1 503 /);
    expect(got).toMatch(/^HTTP\/1.1 503 /);
    for (const text of [headed, posted, got]) {
      expect(text).toMatch(/\r\naccess-control-allow-origin: \*\r\n/i);
      expect(text).toMatch(/\r\nlandfall-error: (shutting_down|upload_busy)\r\n/i);
    }
    const chunks: Buffer[] = [];
    for await (const chunk of download) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).equals(content)).toBe(true);
    expect(await stopped).toBe(0);
  });

  it('ends with 1 when something outlasts the grace period, and keeps what was acknowledged', async () => {
    const server = await start({ LANDFALL_SHUTDOWN_GRACE: '500ms' });
    const url = await createUpload(server.filesUrl, 20_000_000);
    await patch(url, 0, Buffer.alloc(20_000_000, 'x'));
    const download = await new Promise<http.IncomingMessage>((resolve, reject) => {
      http.get(url, { agent: false }, resolve).on('error', reject);
    });
    download.on('error', () => {});
    expect(await server.stop('SIGTERM')).toBe(1);
    await start({}, { port: portOf(server) });
    expect((await head(url)).headers['upload-offset']).toBe('20000000');
  });
});

describe('the data directory', () => {
  it('belongs to one server: a second one is refused, in words', async () => {
    await start();
    await expect(startServer({ dataDir })).rejects.toThrow(
      /ended with 1:.*another Landfall server is using/s,
    );
  });

  it('is free again after kill -9', async () => {
    const first = await start();
    await first.stop('SIGKILL');
    const second = await start();
    expect((await request('GET', `${second.origin}/health/ready`)).status).toBe(200);
  });

  it('rebuilds the catalog when that was deleted', async () => {
    const first = await start();
    const finished = await createUpload(first.filesUrl, 5, {
      'Upload-Metadata': 'filename YS50eHQ=,group Zw==,filetype dGV4dC9wbGFpbg==',
    });
    await patch(finished, 0, 'hello');
    const unfinished = await createUpload(first.filesUrl, 10);
    await patch(unfinished, 0, 'hel');
    await first.stop();
    for (const name of await readdir(dataDir)) {
      if (name.startsWith('catalog.db')) await rm(join(dataDir, name));
    }
    const second = await start({}, { port: portOf(first) });
    await until(async () => (await records(second)).length === 2);
    await until(async () => (await records(second)).some(({ state }) => state === 'ready'));
    const byId = Object.fromEntries((await records(second)).map((record) => [record.id, record]));
    expect(byId[idOf(finished)]).toMatchObject({
      state: 'ready',
      size: 5,
      offset: 5,
      filename: 'a.txt',
      group: 'g',
      contentType: 'text/plain',
    });
    expect(byId[idOf(unfinished)]).toMatchObject({ state: 'receiving', size: 10, offset: 3 });
    expect((await request('GET', finished)).body.toString()).toBe('hello');
    expect((await patch(unfinished, 3, 'lo worl')).status).toBe(204);
  });

  it('moves a damaged catalog away, says so, and rebuilds it', async () => {
    const first = await start();
    const url = await createUpload(first.filesUrl, 5);
    await patch(url, 0, 'hello');
    await first.stop();
    for (const name of await readdir(dataDir)) {
      if (name.startsWith('catalog.db')) await rm(join(dataDir, name));
    }
    await writeFile(join(dataDir, 'catalog.db'), Buffer.alloc(8192, 'this is no database '));
    const second = await start({}, { port: portOf(first) });
    await until(async () => (await records(second)).some(({ state }) => state === 'ready'));
    const damaged = (await readdir(dataDir)).filter((name) => name.startsWith('catalog.db.damaged-'));
    expect(damaged).toHaveLength(1);
    expect((await readFile(join(dataDir, damaged[0] as string))).toString()).toContain('this is no database');
    expect(second.output()).toContain(damaged[0]);
    expect((await request('GET', url)).body.toString()).toBe('hello');
  });

  it('with a torn info file: its upload is named in the log and a 500, all others work', async () => {
    const first = await start();
    const torn = await createUpload(first.filesUrl, 5);
    const whole = await createUpload(first.filesUrl, 5);
    await patch(whole, 0, 'hel');
    await first.stop();
    const infoPath = join(dataDir, 'uploads', `${idOf(torn)}.json`);
    await writeFile(infoPath, (await readFile(infoPath)).subarray(0, 20));
    const second = await start({}, { port: portOf(first) });
    await until(() => second.output().includes(`${idOf(torn)}.json`));
    expect(second.output()).toMatch(/not valid JSON/);
    for (const reply of [await head(torn), await patch(torn, 0, 'hello')]) {
      expect([reply.status, reply.headers['landfall-error']]).toEqual([500, 'upload_damaged']);
      expect(reply.headers['upload-offset']).toBeUndefined();
      expect(reply.body.toString()).not.toContain(dataDir);
    }
    // Nothing was thrown away: an operator must look.
    expect(await readdir(join(dataDir, 'uploads'))).toContain(`${idOf(torn)}.json`);
    expect((await patch(whole, 3, 'lo')).status).toBe(204);
    expect((await request('GET', whole)).body.toString()).toBe('hello');
    expect((await request('GET', `${second.origin}/health/ready`)).status).toBe(200);
  });
});

describe('Location', () => {
  const locationBy = async (server: RunningServer, headers: http.OutgoingHttpHeaders = {}) => {
    const reply = await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '1', ...headers });
    expect(reply.status).toBe(201);
    return reply.headers.location as string;
  };
  const FORWARDED = { 'X-Forwarded-Host': 'upload.example', 'X-Forwarded-Proto': 'https' };

  it('is relative, whatever a client says', async () => {
    const server = await start();
    for (const headers of [{}, FORWARDED, { Host: 'evil.example' }]) {
      expect(await locationBy(server, headers)).toMatch(/^\/files\/[\w-]{32}$/);
    }
  });

  it('has the fixed origin, and prefix, of LANDFALL_PUBLIC_URL', async () => {
    const server = await start({ LANDFALL_PUBLIC_URL: 'https://upload.example/api/' });
    expect(server.filesUrl).toBe('https://upload.example/api/files');
    // Its printed address is the public one: ask it at its own.
    const ownOrigin = /http:\/\/127\.0\.0\.1:\d+/.exec(server.output())?.[0];
    const reply = await request('POST', `${ownOrigin}/files`, {
      ...TUS,
      'Upload-Length': '1',
      'X-Forwarded-Host': 'other.example',
    });
    expect(reply.headers.location).toMatch(/^https:\/\/upload\.example\/api\/files\/[\w-]{32}$/);
  });

  it('has the host and protocol that a trusted proxy saw', async () => {
    const server = await start({ LANDFALL_TRUSTED_PROXIES: 'loopback' });
    expect(await locationBy(server, FORWARDED)).toMatch(/^https:\/\/upload\.example\/files\/[\w-]{32}$/);
    expect(await locationBy(server)).toMatch(/^\/files\/[\w-]{32}$/);
    const several = { 'X-Forwarded-Host': 'upload.example', 'X-Forwarded-Proto': 'https,http' };
    expect(await locationBy(server, several)).toMatch(/^https?:\/\/upload\.example\/files\/[\w-]{32}$/);
  });

  it('is relative where the proxy is not the trusted one', async () => {
    const server = await start({ LANDFALL_TRUSTED_PROXIES: '192.0.2.0/24' });
    expect(await locationBy(server, FORWARDED)).toMatch(/^\/files\/[\w-]{32}$/);
  });
});
