import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * tus 1.0.0, "Expiration": https://tus.io/protocols/resumable-upload#expiration
 * Sentences in titles are the specification's. [!]: @tus/server 2.4.5 does it differently.
 */

const EXPIRATION_MS = 1_500;
/** RFC 9110, 5.6.7. */
const IMF_FIXDATE =
  /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d{2}:\d{2}:\d{2} GMT$/;

let server: RunningServer;
let hasty: RunningServer;
let patient: RunningServer;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_EXPIRATION: '24h' } });
  hasty = await startServer({
    env: { LANDFALL_EXPIRATION: `${EXPIRATION_MS}ms`, LANDFALL_SWEEP_INTERVAL: '100ms' },
  });
  patient = await startServer({ env: { LANDFALL_EXPIRATION: 'off' } });
});
afterAll(async () => {
  await server.stop();
  await hasty.stop();
  await patient.stop();
});

const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);
const storedNames = () => readdir(join(hasty.dataDir, 'uploads'));

function expectInADay(value: unknown): void {
  expect(value).toMatch(IMF_FIXDATE);
  const seconds = (Date.parse(String(value)) - Date.now()) / 1000;
  expect(seconds).toBeGreaterThan(24 * 3600 - 60);
  expect(seconds).toBeLessThanOrEqual(24 * 3600);
}

it('"the Server MUST add expiration to the Tus-Extension header": where something expires, and only there', async () => {
  const extensions = async (of: RunningServer) =>
    String((await request('OPTIONS', of.filesUrl)).headers['tus-extension']).split(',');
  expect(await extensions(server)).toContain('expiration');
  expect(await extensions(patient)).not.toContain('expiration');
  const url = await createUpload(patient.filesUrl, 5);
  expect((await head(url)).headers['upload-expires']).toBeUndefined();
  expect((await patch(url, 0, 'hel')).headers['upload-expires']).toBeUndefined();
});

it('"If the expiration is known at the creation, the Upload-Expires header MUST be included in the response to the initial POST request"', async () => {
  const reply = await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '5' });
  expectInADay(reply.headers['upload-expires']);
  const withBody = await request(
    'POST',
    server.filesUrl,
    { ...TUS, ...PATCH_TYPE, 'Upload-Length': '5' },
    'hel',
  );
  expectInADay(withBody.headers['upload-expires']);
});

it('"This header MUST be included in every PATCH response if the upload is going to expire", "in RFC 9110 datetime format"', async () => {
  const url = await createUpload(server.filesUrl, 5);
  expectInADay((await patch(url, 0, 'h')).headers['upload-expires']);
  expectInADay((await patch(url, 1, '')).headers['upload-expires']);
  expectInADay((await head(url)).headers['upload-expires']);
});

it('a finished upload is not going to expire', async () => {
  const url = await createUpload(server.filesUrl, 5);
  expect((await patch(url, 0, 'hello')).headers['upload-expires']).toBeUndefined();
  expect((await head(url)).headers['upload-expires']).toBeUndefined();
  const whole = await request(
    'POST',
    server.filesUrl,
    { ...TUS, ...PATCH_TYPE, 'Upload-Length': '5' },
    'hello',
  );
  expect(whole.headers['upload-expires']).toBeUndefined();
  const empty = await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '0' });
  expect(empty.headers['upload-expires']).toBeUndefined();
});

// [!] stock leaves it out of Access-Control-Expose-Headers
it('a page of another origin may read Upload-Expires', async () => {
  const reply = await request('POST', server.filesUrl, {
    ...TUS,
    'Upload-Length': '5',
    Origin: 'https://page.example',
  });
  const exposed = String(reply.headers['access-control-expose-headers']).split(/, */);
  expect(exposed).toContain('Upload-Expires');
});

it('"Its value MAY change over time": bytes keep an upload alive', async () => {
  const url = await createUpload(hasty.filesUrl, 100);
  for (let offset = 0; offset < 5; offset++) {
    await sleep(EXPIRATION_MS / 2);
    expect((await patch(url, offset, 'x')).status).toBe(204);
  }
});

// [!] stock answers HEAD on a finished upload with 410 once its time has come
it('"If a Client does attempt to resume an upload which has since been removed by the Server, the Server SHOULD respond with the 404 Not Found or 410 Gone status": only what is unfinished', async () => {
  const expiring = await createUpload(hasty.filesUrl, 5);
  await patch(expiring, 0, 'hel');
  const untouched = await createUpload(hasty.filesUrl, 'deferred');
  const finished = await createUpload(hasty.filesUrl, 5);
  await patch(finished, 0, 'hello');
  const empty = await createUpload(hasty.filesUrl, 0);
  await sleep(EXPIRATION_MS + 50);

  for (const url of [expiring, untouched]) {
    for (const reply of [await head(url), await patch(url, 3, 'lo'), await request('GET', url)]) {
      expect(reply.status).toBe(410);
      expect(reply.headers['upload-offset']).toBeUndefined();
    }
  }
  // … and is swept, and only that.
  await until(async () => !(await storedNames()).some((name) => name.includes(idOf(expiring))));
  await until(async () => !(await storedNames()).some((name) => name.includes(idOf(untouched))));
  expect((await head(expiring)).status).toBe(410);
  const record = JSON.parse(
    (await request('GET', `${hasty.origin}/uploads/${idOf(expiring)}`)).body.toString(),
  );
  expect(record).toMatchObject({ state: 'expired', reason: { code: 'expired' } });

  const found = await head(finished);
  expect([found.status, found.headers['upload-offset']]).toEqual([200, '5']);
  expect((await request('GET', finished)).body.toString()).toBe('hello');
  expect((await head(empty)).status).toBe(200);
});
