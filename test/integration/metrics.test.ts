import sharp from 'sharp';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { fleetSettings } from '../support/fleet.ts';
import { startRedis, until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, patch, request } from '../support/tus.ts';

const TOKEN = 'a-token-for-the-operator';
const AUTHORIZED = { Authorization: `Bearer ${TOKEN}` };

let server: RunningServer;
beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_ADMIN_TOKEN: TOKEN, LANDFALL_VERIFY: 'always' } });
});
afterAll(async () => {
  await server.stop();
});

/** What Prometheus reads: `name{labels}` and its number. */
async function scrape(origin = server.origin): Promise<Map<string, number>> {
  const reply = await request('GET', `${origin}/metrics`, AUTHORIZED);
  expect([reply.status, reply.headers['content-type']]).toEqual([200, expect.stringContaining('text/plain')]);
  const lines = reply.body.toString().split('\n');
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

async function upload(filesUrl: string, content: Buffer): Promise<string> {
  const url = await createUpload(filesUrl, content.length);
  expect((await patch(url, 0, content)).status).toBe(204);
  const id = url.slice(url.lastIndexOf('/') + 1);
  await until(async () => {
    const reply = await request('GET', `${new URL(filesUrl).origin}/uploads/${id}`);
    return JSON.parse(reply.body.toString()).state === 'ready';
  }, 30_000);
  return url;
}

it('is the operator’s', async () => {
  expect((await request('GET', `${server.origin}/metrics`)).status).toBe(401);
});

it('tells what was received, made and delivered', async () => {
  const before = await scrape();
  expect(before.get('landfall_uploads{state="ready"}')).toBe(0);
  const photo = await sharp({
    create: {
      width: 1600,
      height: 1200,
      channels: 3,
      background: '#000',
      noise: { type: 'gaussian', mean: 120, sigma: 30 },
    },
  })
    .jpeg({ quality: 95 })
    .toBuffer();
  const url = await upload(server.filesUrl, photo);
  await upload(server.filesUrl, photo.subarray(0, 5_000));
  await upload(server.filesUrl, Buffer.from('words'));
  expect((await request('GET', url)).body.length).toBe(photo.length);
  expect((await request('GET', url.replace('/files/', '/media/'))).status).toBe(200);

  const now = await scrape();
  const all = photo.length + 5_005;
  expect(now.get('landfall_uploads{state="ready"}')).toBe(3);
  expect(now.get('landfall_received_bytes_total')).toBe(all);
  expect(now.get('landfall_upload_requests_total')).toBe(3);
  expect(now.get('landfall_upload_resumes_total')).toBe(0);
  expect(now.get('landfall_upload_speed_bytes_per_second_count')).toBe(3);
  expect(now.get('landfall_upload_first_byte_seconds_count')).toBe(3);
  expect(now.get('landfall_uploads_ended_total{state="ready"}')).toBe(3);
  expect(now.get('landfall_previews_total{kind="image",outcome="made"}')).toBe(1);
  expect(now.get('landfall_previews_total{kind="image",outcome="corrupt"}')).toBe(1);
  expect(now.get('landfall_processing_seconds_count{kind="image"}')).toBe(2);
  expect(now.get('landfall_processing_queued_seconds_count')).toBe(2);
  expect(now.get('landfall_processing_cpu_seconds_total{kind="image"}')).toBeGreaterThan(0.01);
  expect(now.get('landfall_processing_peak_memory_bytes_sum{kind="image"}')).toBeGreaterThan(1024 ** 2);
  expect(now.get('landfall_preview_ratio_count{kind="image"}')).toBe(1);
  expect(now.get('landfall_preview_ratio_sum{kind="image"}')).toBeLessThan(1);
  expect(now.get('landfall_delivery_first_byte_seconds_count{what="original"}')).toBe(1);
  expect(now.get('landfall_delivery_first_byte_seconds_count{what="media"}')).toBe(1);
  expect(now.get('landfall_jobs{kind="finish",state="active"}')).toBe(0);
  expect(now.get('landfall_jobs{kind="webhook",state="waiting"}')).toBe(0);
  expect(now.get('landfall_running_requests')).toBe(1);
  expect(now.get('landfall_receiving_requests')).toBe(0);
  expect(now.get('process_resident_memory_bytes')).toBeGreaterThan(1024 ** 2);
});

it('is of all processes on a port, whichever of them is asked', async () => {
  const redis = await startRedis({ hasRunForLong: true });
  const cluster = await startServer({
    env: {
      ...fleetSettings(inject('s3'), redis, 'metrics'),
      LANDFALL_PROCESSES: '2',
      LANDFALL_ADMIN_TOKEN: TOKEN,
    },
  });
  try {
    for (let count = 0; count < 4; count++) await upload(cluster.filesUrl, Buffer.from(`words ${count}`));
    for (let count = 0; count < 3; count++) {
      const now = await scrape(cluster.origin);
      expect(now.get('landfall_uploads{state="ready"}')).toBe(4);
      expect(now.get('landfall_received_bytes_total')).toBe(28);
      expect(now.get('landfall_upload_speed_bytes_per_second_count')).toBe(4);
      expect(now.get('landfall_uploads_ended_total{state="ready"}')).toBe(4);
    }
  } finally {
    await cluster.stop();
    await redis.stop();
  }
});
