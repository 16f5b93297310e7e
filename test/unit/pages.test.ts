import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import Fastify, { type FastifyInstance } from 'fastify';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Config, loadConfig } from '../../server/config.ts';
import { contentPolicy } from '../../server/web/content-policy.ts';
import { mountPages } from '../../server/web/pages.ts';

/* The built page as it is served, with a small one in its place. */

const SCRIPT = `console.log(${JSON.stringify('x'.repeat(2000))})`;
const INDEX = '<!doctype html><title>Uploads</title>';

let directory: string;
let app: FastifyInstance;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-pages-'));
  await mkdir(join(directory, 'assets'));
  await writeFile(join(directory, 'index.html'), INDEX);
  await writeFile(join(directory, 'gallery.html'), '<!doctype html><title>Gallery</title>');
  await writeFile(join(directory, 'assets/main-1a2b.js'), SCRIPT);
  await writeFile(join(directory, 'assets/main-1a2b.js.gz'), gzipSync(SCRIPT));
  await writeFile(join(directory, 'assets/icon-3c.svg'), '<svg/>');
  app = await serve(configOf());
});
afterAll(async () => {
  await app.close();
  await rm(directory, { recursive: true, force: true });
});

function configOf(env: Record<string, string> = {}): Config {
  return loadConfig({ env, cwd: '/nonexistent' });
}

async function serve(config: Config, from = directory, log: string[] = []): Promise<FastifyInstance> {
  const server = Fastify();
  const logger = pino({}, { write: (line: string) => void log.push(line) });
  mountPages(server, { config, log: logger, directory: from });
  return server;
}

describe('the pages', () => {
  it('are asked for again each time', async () => {
    const page = await app.inject('/');
    expect([page.statusCode, page.body]).toEqual([200, INDEX]);
    expect(page.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-cache',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'content-length': String(INDEX.length),
    });
    const etag = page.headers.etag as string;
    const again = await app.inject({ url: '/', headers: { 'if-none-match': etag } });
    expect([again.statusCode, again.body, again.headers.etag]).toEqual([304, '', etag]);
    expect((await app.inject('/gallery?group=a')).body).toContain('Gallery');
  });

  it('answer HEAD like GET, without the body', async () => {
    const head = await app.inject({ method: 'HEAD', url: '/' });
    expect([head.statusCode, head.body, head.headers['content-length']]).toEqual([
      200,
      '',
      String(INDEX.length),
    ]);
  });
});

describe('the assets', () => {
  it('are kept for ever', async () => {
    const { headers, body } = await app.inject('/assets/main-1a2b.js');
    expect(body).toBe(SCRIPT);
    expect(headers).toMatchObject({
      'content-type': 'text/javascript; charset=utf-8',
      'cache-control': 'public, max-age=31536000, immutable',
      vary: 'Accept-Encoding',
    });
    expect(headers['content-encoding']).toBeUndefined();
    expect((await app.inject('/assets/icon-3c.svg')).headers['content-type']).toBe('image/svg+xml');
  });

  it.each([
    ['gzip', 'gzip'],
    ['br, gzip;q=0.5', 'gzip'],
    ['GZIP', 'gzip'],
    ['gzip;q=0', undefined],
    ['gzip; q=0.000', undefined],
    ['br', undefined],
    ['', undefined],
  ])('Accept-Encoding: %s is answered with %s', async (accepted, encoding) => {
    const answer = await app.inject({
      url: '/assets/main-1a2b.js',
      headers: { 'accept-encoding': accepted },
    });
    expect(answer.headers['content-encoding']).toBe(encoding);
    const bytes = encoding === undefined ? answer.rawPayload : gunzipSync(answer.rawPayload);
    expect(bytes.toString()).toBe(SCRIPT);
  });

  it('have another entity tag in another coding', async () => {
    const plain = await app.inject('/assets/main-1a2b.js');
    const packed = await app.inject({ url: '/assets/main-1a2b.js', headers: { 'accept-encoding': 'gzip' } });
    expect(packed.headers.etag).not.toBe(plain.headers.etag);
  });

  it.each(['other.js', 'main-1a2b.js.gz', '..%2findex.html', '%2e%2e%2findex.html', '__proto__', ''])(
    'there is no %s',
    async (name) => {
      expect((await app.inject(`/assets/${name}`)).statusCode).toBe(404);
    },
  );
});

describe('without a page', () => {
  it('LANDFALL_WEB=off serves none and says nothing', async () => {
    const log: string[] = [];
    const server = await serve(configOf({ LANDFALL_WEB: 'off' }), directory, log);
    for (const url of ['/', '/gallery', '/assets/main-1a2b.js'])
      expect((await server.inject(url)).statusCode).toBe(404);
    expect(log).toEqual([]);
    await server.close();
  });

  it('one that was not built is told of once', async () => {
    const log: string[] = [];
    const server = await serve(configOf(), join(directory, 'nowhere'), log);
    expect((await server.inject('/')).statusCode).toBe(404);
    expect(log.map((line) => JSON.parse(line).msg)).toEqual([expect.stringContaining('has not been built')]);
    await server.close();
  });
});

describe('the Content-Security-Policy', () => {
  const s3 = { LANDFALL_STORE: 's3', LANDFALL_S3_BUCKET: 'films' };
  const sources = (directive: string, env: Record<string, string> = {}) =>
    contentPolicy(configOf(env))
      .split('; ')
      .find((item) => item.startsWith(`${directive} `))
      ?.split(' ')
      .slice(1);

  it('is on every page and asset, and lets nothing but our own files run', async () => {
    for (const url of ['/', '/gallery', '/assets/main-1a2b.js']) {
      expect((await app.inject(url)).headers['content-security-policy']).toBe(contentPolicy(configOf()));
    }
    expect(sources('default-src')).toEqual(["'none'"]);
    expect(sources('script-src')).toEqual(["'self'", "'wasm-unsafe-eval'"]);
    expect(sources('style-src')).toEqual(["'self'"]);
    expect(sources('connect-src')).toEqual(["'self'"]);
    expect(sources('frame-ancestors')).toEqual(["'none'"]);
  });

  it('lets pages send to the bucket, wherever it is', () => {
    expect(sources('connect-src', s3)).toEqual([
      "'self'",
      'https://s3.us-east-1.amazonaws.com',
      'https://films.s3.us-east-1.amazonaws.com',
    ]);
    expect(sources('connect-src', { ...s3, LANDFALL_S3_ENDPOINT: 'http://127.0.0.1:9000' })).toEqual([
      "'self'",
      'http://127.0.0.1:9000',
    ]);
    expect(
      sources('connect-src', {
        ...s3,
        LANDFALL_S3_ENDPOINT: 'http://10.0.0.9:9000',
        LANDFALL_S3_PUBLIC_ENDPOINT: 'https://s3.example',
      }),
    ).toEqual(["'self'", 'https://s3.example']);
    expect(sources('connect-src', { ...s3, LANDFALL_DIRECT: 'off' })).toEqual(["'self'"]);
  });

  it('lets pages show what a bucket or a CDN serves', () => {
    expect(sources('img-src', s3)).toEqual(["'self'", 'data:', 'blob:']);
    const redirected = { ...s3, LANDFALL_MEDIA_REDIRECT: 'presigned', LANDFALL_S3_PREVIEW_BUCKET: 'small' };
    expect(sources('img-src', redirected)).toContain('https://small.s3.us-east-1.amazonaws.com');
    expect(sources('media-src', { LANDFALL_MEDIA_PUBLIC_URL: 'https://cdn.example/landfall' })).toContain(
      'https://cdn.example',
    );
  });
});
