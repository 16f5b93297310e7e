import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { exchange, type FaultyRequest, type Outcome } from './client.ts';
import { createRandom, type Random, randomBytesOf, sha256Hex } from './random.ts';
import { explainFailure, type SeedResult, within } from './scenario.ts';
import type { CreateTopology, Topology } from './topology.ts';
import { Trace, Violation, World } from './world.ts';

const TUS = { 'Tus-Resumable': '1.0.0' };
const SEED_TIMEOUT_MS = 120_000;
const SETTLE_TIMEOUT_MS = 60_000;

/** What a client sends, and how that must end. */
interface Sent {
  kind: string;
  content: Buffer;
  declaredSha256: string | undefined;
  end: 'ready' | 'rejected';
  hasPreviews: boolean;
}

interface Delivery {
  messageId: string;
  type: string;
  uploadId: string;
  state: string;
}

/**
 * One seed: many small uploads are finished while the processes that take them and the ones that work on them are
 * killed at random. In the end each has come to its end, its receiver was told of that at least once and under one id,
 * and every preview is there once.
 */
export async function runFinishingSeed(seed: number, createTopology: CreateTopology): Promise<SeedResult> {
  const startedAt = performance.now();
  const random = createRandom(`finishing ${seed}`);
  const trace = new Trace();
  const receiver = await startRecorder();
  const topology = await createTopology({
    LANDFALL_WEBHOOK_URL: receiver.url,
    LANDFALL_WEBHOOK_SECRET: `whsec_${Buffer.alloc(24, seed).toString('base64')}`,
    LANDFALL_WEBHOOK_ALLOW_PRIVATE: 'on',
    LANDFALL_WEBHOOK_EVENTS: 'received,ready,rejected,failed',
    LANDFALL_SWEEP_INTERVAL: '500ms',
  });
  const world = new World(topology, trace, random.fork('world'));
  let failure: string | undefined;
  let sent: { id: string; what: Sent }[] = [];
  try {
    const plans = await Promise.all(
      Array.from({ length: random.int(4, 8) }, (_, index) =>
        planFile(random.fork(`file ${index}`), `${seed}-${index}`),
      ),
    );
    const uploads = Promise.all(
      plans.map(async (what, index) => {
        const id = await send(world, random.fork(`client ${index}`), what);
        trace.add(
          'client',
          `${id} is received: ${what.kind}, ${what.content.length} bytes, to be ${what.end}`,
        );
        return { id, what };
      }),
    );
    uploads.catch(() => {}); // looked at below
    await within(SEED_TIMEOUT_MS, killAtRandom(world, random.fork('kills')));
    sent = await within(SEED_TIMEOUT_MS, uploads);
    await settle(world, sent, receiver.deliveries);
    world.checkLog();
  } catch (error) {
    failure = explainFailure(error, topology, trace);
  } finally {
    world.end();
    await topology.dispose();
    receiver.close();
  }
  return {
    seed,
    failure,
    trace: trace.lines,
    uploads: sent.length,
    bytes: sent.reduce((sum, { what }) => sum + what.content.length, 0),
    kills: world.kills,
    durationMs: performance.now() - startedAt,
  };
}

async function planFile(random: Random, seed: string): Promise<Sent> {
  const kind = random.weighted([
    [5, 'picture'],
    [2, 'broken picture'],
    [3, 'bytes'],
  ]);
  const content = kind === 'bytes' ? randomBytesOf(seed, random.int(0, 300_000)) : await picture(random);
  const bytes = kind === 'broken picture' ? content.subarray(0, content.length / 3) : content;
  const digest = random.weighted([
    [4, 'none'],
    [3, 'right'],
    [2, 'wrong'],
  ]);
  return {
    kind: `${kind}, ${digest === 'none' ? 'no' : `a ${digest}`} digest`,
    content: bytes,
    declaredSha256: digest === 'none' ? undefined : sha256Hex(digest === 'right' ? bytes : Buffer.from(seed)),
    end: digest === 'wrong' ? 'rejected' : 'ready',
    hasPreviews: kind === 'picture' && digest !== 'wrong',
  };
}

function picture(random: Random): Promise<Buffer> {
  const [width, height] = [random.int(40, 900), random.int(40, 900)];
  const noise = { type: 'gaussian', mean: random.int(40, 200), sigma: 30 } as const;
  const image = sharp({ create: { width, height, channels: 3, background: '#000', noise } });
  return random.chance(0.5) ? image.jpeg().toBuffer() : image.png().toBuffer();
}

/** Sends a file, however often the server dies meanwhile, until the server has said that it has all of it. */
async function send(world: World, random: Random, { content, declaredSha256 }: Sent): Promise<string> {
  const metadata = declaredSha256 === undefined ? undefined : base64(`sha256 ${declaredSha256}`);
  const requests = async (request: FaultyRequest): Promise<Outcome> => {
    await world.ensureUp();
    return exchange({ ...request, headers: { ...TUS, ...request.headers } }).outcome;
  };
  await sleep(random.skewedInt(0, 1_500));
  let url: string | undefined;
  while (url === undefined) {
    const { status, headers } = await requests({
      method: 'POST',
      url: `${world.topology.origin}/files`,
      headers: {
        'Upload-Length': String(content.length),
        ...(metadata === undefined ? {} : { 'Upload-Metadata': `checksum ${metadata}` }),
      },
    });
    if (status === 201) url = new URL(headers.location ?? '', world.topology.origin).href;
    else await sleep(20);
  }
  const pieceBytes = random.chance(0.5) ? content.length : Math.max(1, Math.ceil(content.length / 3));
  for (;;) {
    const asked = await requests({ method: 'HEAD', url });
    // Rejected at its finish, of which the answer was lost.
    if (asked.status === 410) break;
    if (asked.status !== 200) {
      await sleep(20);
      continue;
    }
    const offset = Number(asked.headers['upload-offset']);
    if (offset === content.length) break;
    await requests({
      method: 'PATCH',
      url,
      headers: { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': String(offset) },
      body: content.subarray(offset, offset + pieceBytes),
    });
  }
  return url.slice(url.lastIndexOf('/') + 1);
}

/** A previews' process needs some hundred milliseconds to start: kills fall before, into and after the work. */
async function killAtRandom(world: World, random: Random): Promise<void> {
  const kills = random.int(3, 7);
  for (let count = 0; count < kills; count++) {
    await world.ensureUp();
    await sleep(random.skewedInt(1, 1_200));
    world.kill(random.chance(0.85) ? 'SIGKILL' : 'SIGTERM', 'at random');
    if (random.chance(0.3)) world.kill('SIGKILL', 'at random, and another');
  }
  await world.ensureUp();
}

/** Asks until everything is as it must be; then it must stay so. */
async function settle(
  world: World,
  sent: readonly { id: string; what: Sent }[],
  deliveries: readonly Delivery[],
): Promise<void> {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  for (;;) {
    await world.ensureUp();
    const problem = await firstProblem(world.topology, sent, deliveries).catch((error: unknown) => {
      if (error instanceof Violation) throw error;
      return String(error);
    });
    if (problem === undefined) return;
    if (performance.now() > deadline) throw new Violation(problem);
    await sleep(100);
  }
}

/** What is not so yet; throws a Violation for what must never be. */
async function firstProblem(
  topology: Topology,
  sent: readonly { id: string; what: Sent }[],
  deliveries: readonly Delivery[],
): Promise<string | undefined> {
  for (const { id, what } of sent) {
    const { state, media } = await show(topology, id);
    if (['received', 'processing', 'receiving'].includes(state)) return `${id} is ${state}`;
    if (state !== what.end) throw new Violation(`${id} (${what.kind}) is ${state}`);
    if (what.end === 'ready') {
      const problem = await problemOfPreviews(topology, id, what, media);
      if (problem !== undefined) return problem;
    }
    await checkServed(topology, id, what);
    for (const event of ['received', what.end]) {
      const told = deliveries.filter(({ uploadId, type }) => uploadId === id && type === `upload.${event}`);
      if (told.length === 0) return `nobody was told that ${id} is ${event}`;
      const ids = new Set(told.map(({ messageId }) => messageId));
      if (ids.size !== 1) throw new Violation(`it was told under ${ids.size} ids that ${id} is ${event}`);
    }
    const other = what.end === 'ready' ? 'rejected' : 'ready';
    if (deliveries.some(({ uploadId, type }) => uploadId === id && type === `upload.${other}`)) {
      throw new Violation(`it was told that ${id} is ${other}`);
    }
  }
  return undefined;
}

async function problemOfPreviews(
  topology: Topology,
  id: string,
  { hasPreviews, kind }: Sent,
  media: ShownMedia | null,
): Promise<string | undefined> {
  const previews = media?.previews ?? [];
  const variants = previews
    .map(({ variant }) => variant)
    .sort()
    .join();
  if (variants !== (hasPreviews ? 'preview,thumb' : '')) {
    throw new Violation(`${id} (${kind}) has the previews "${variants}": ${JSON.stringify(media)}`);
  }
  const names = previews.map(({ url }) => url.slice(url.lastIndexOf('/') + 1));
  const stored = (await topology.storedPreviews(id)).filter((name) => name !== 'manifest.json');
  if (stored.sort().join() !== names.sort().join()) {
    return `${id} has ${names.join()}, and stored are ${stored.join()}`;
  }
  for (const { url, size } of previews) {
    const { status, body } = await exchange({ method: 'GET', url: topology.origin + url }).outcome;
    if (status !== 200) return `a preview of ${id} is answered ${status}`;
    if (body.length !== size) throw new Violation(`a preview of ${id} has ${body.length} of ${size} bytes`);
  }
  return undefined;
}

async function checkServed(topology: Topology, id: string, { end, content }: Sent): Promise<void> {
  const { status, body } = await exchange({ method: 'GET', url: `${topology.origin}/files/${id}` }).outcome;
  if (status === undefined || status === 503) throw new Error(`the original of ${id} cannot be read now`);
  if (end === 'rejected' ? status !== 410 : status !== 200 || !body.equals(content)) {
    throw new Violation(`the original of ${id}, ${end}, is answered ${status} with ${body.length} bytes`);
  }
}

interface ShownMedia {
  previews: { variant: string; url: string; size: number }[];
}

async function show(topology: Topology, id: string): Promise<{ state: string; media: ShownMedia | null }> {
  const { status, body } = await exchange({ method: 'GET', url: `${topology.origin}/uploads/${id}` }).outcome;
  if (status !== 200) throw new Error(`GET /uploads/${id} is answered ${status}`);
  return JSON.parse(body.toString());
}

interface Recorder {
  url: string;
  deliveries: Delivery[];
  close(): void;
}

/** Who is told. */
async function startRecorder(): Promise<Recorder> {
  const deliveries: Delivery[] = [];
  const server = createServer(async (request, response) => {
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { type, data } = JSON.parse(Buffer.concat(chunks).toString());
      deliveries.push({
        messageId: String(request.headers['webhook-id']),
        type,
        uploadId: data.id,
        state: data.state,
      });
      response.writeHead(204).end();
    } catch {
      // Killed while it told us: it tells again.
      response.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    deliveries,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
