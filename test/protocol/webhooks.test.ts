import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, patch, request, TUS } from '../support/tus.ts';

const SECRET = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;
const running: RunningServer[] = [];

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

async function start(
  receiver: Receiver,
  env: Record<string, string> = {},
  dataDir?: string,
): Promise<RunningServer> {
  const server = await startServer({
    ...(dataDir === undefined ? {} : { dataDir }),
    env: {
      LANDFALL_WEBHOOK_URL: receiver.url,
      LANDFALL_WEBHOOK_SECRET: SECRET,
      LANDFALL_WEBHOOK_EVENTS: 'received,ready,rejected,aborted',
      LANDFALL_WEBHOOK_ALLOW_PRIVATE: 'on',
      ...env,
    },
  });
  running.push(server);
  return server;
}

interface Told {
  type: string;
  timestamp: string;
  data: { id: string; state: string };
}

function told(receiver: Receiver): Told[] {
  return receiver.received.map(
    ({ headers, body }) => new Webhook(SECRET).verify(body, headers as Record<string, string>) as Told,
  );
}

test('an upload is told of as the API shows it', async () => {
  const receiver = await startReceiver();
  const server = await start(receiver);
  const url = await createUpload(server.filesUrl, 5);
  expect((await patch(url, 0, 'hello')).status).toBe(204);
  await receiver.whenReceived(2);

  const id = url.slice(url.lastIndexOf('/') + 1);
  const messages = told(receiver);
  expect(messages.map(({ type }) => type).sort()).toEqual(['upload.ready', 'upload.received']);
  const ready = messages.find(({ type }) => type === 'upload.ready');
  const shown = JSON.parse((await request('GET', `${server.origin}/uploads/${id}`)).body.toString());
  expect(ready?.data).toEqual(shown);
  expect(shown).toMatchObject({ id, state: 'ready', size: 5 });
});

test('a rejected and a deleted upload are told of', async () => {
  const receiver = await startReceiver();
  const server = await start(receiver);
  const wrong = createHash('sha256').update('other').digest('base64');
  const rejected = await createUpload(server.filesUrl, 5, {
    'Upload-Metadata': `checksum ${Buffer.from(`sha256 ${wrong}`).toString('base64')}`,
  });
  await patch(rejected, 0, 'hello');
  const deleted = await createUpload(server.filesUrl, 5);
  expect((await request('DELETE', deleted, TUS)).status).toBe(204);
  await receiver.whenReceived(3);
  expect(
    told(receiver)
      .map(({ type, data }) => [type, deleted.endsWith(data.id)])
      .sort(),
  ).toEqual([
    ['upload.aborted', true],
    ['upload.received', false],
    ['upload.rejected', false],
  ]);
});

test('what could not be told before the process was killed is told by the next one', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'landfall-webhooks-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  let isDown = true;
  const receiver = await startReceiver(() => (isDown ? { reset: true } : undefined));
  const env = { LANDFALL_WEBHOOK_EVENTS: 'ready' };
  const server = await start(receiver, env, dataDir);
  const url = await createUpload(server.filesUrl, 5);
  await patch(url, 0, 'hello');
  await receiver.whenReceived(1);
  await server.stop('SIGKILL');
  isDown = false;
  const before = receiver.received.length;
  await start(receiver, env, dataDir);
  await receiver.whenReceived(before + 1);
  const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
  expect(new Set(ids).size).toBe(1);
  expect(told(receiver).at(-1)).toMatchObject({ type: 'upload.ready', data: { state: 'ready' } });
});
