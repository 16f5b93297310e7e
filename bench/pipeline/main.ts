/**
 * `node bench/pipeline/main.ts [rounds]`: what the work after the last byte costs whoever waits for it, and whoever
 * does not. The embedded default, files in memory where there is room.
 *
 * - PATCH of 1 GiB while nothing else happens, and while 8 images of 24 megapixels are processed, in turns;
 * - from the answer to the last byte of a JPEG of 12 megapixels until its previews are there, one after the other.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { type ClientProcess, startClientProcess } from '../client-process.ts';
import { createDataDir, describeMachine } from '../machine.ts';
import { type ServerProcess, startServerProcess } from '../server-process.ts';
import { landfall } from '../variants.ts';

const PATCH_BYTES = 1024 ** 3;
const IMAGES_AT_ONCE = 8;
const LATENCY_UPLOADS = 40;
const POLL_MS = 2;

/** What is wanted on two cores: a quarter of the speed may be lost, and nobody waits longer than this. */
const BUSY_TO_IDLE = 0.75;
const READY_MS = 600;

interface PatchRun {
  round: number;
  state: 'idle' | 'busy';
  megabytesPerSecond: number;
  /** Images that were still to be processed when the PATCH had ended. */
  imagesLeft: number;
}

async function main(): Promise<void> {
  const rounds = Number(process.argv[2] ?? 5);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('expected a number of rounds from 1 on');
  const dataDir = await createDataDir(undefined);
  const server = await startServerProcess(landfall('landfall', { LANDFALL_LOG_LEVEL: 'warn' }), dataDir);
  const client = startClientProcess();
  try {
    const large = await photograph(6000, 4000);
    const usual = await photograph(4000, 3000);
    await uploadImage(server, usual); // starts the process that makes previews
    await whenReady(server);
    const patches: PatchRun[] = [];
    for (let round = 0; round <= rounds; round++) {
      for (const state of ['idle', 'busy'] as const) {
        const run = await measurePatch(server, client, { round, state, image: large });
        // The first round compiles; it does not count.
        if (round > 0) patches.push(run);
      }
    }
    const latenciesMs = await measureLatencies(server, usual);
    await report(rounds, patches, latenciesMs);
  } finally {
    client.stop();
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function measurePatch(
  server: ServerProcess,
  client: ClientProcess,
  { round, state, image }: { round: number; state: PatchRun['state']; image: Buffer },
): Promise<PatchRun> {
  const { port } = server;
  const { paths } = await client.run({ kind: 'create', port, count: 1, bytes: PATCH_BYTES });
  await server.collectGarbage();
  const images: string[] = [];
  if (state === 'busy') {
    for (let count = 0; count < IMAGES_AT_ONCE; count++) images.push(await uploadImage(server, image));
  }
  const { seconds } = await client.run({ kind: 'patch', port, paths, bytes: PATCH_BYTES });
  const imagesLeft = await countUnready(server);
  await whenReady(server);
  await client.run({ kind: 'remove', port, paths });
  await client.run({ kind: 'remove', port, paths: images });
  return { round, state, megabytesPerSecond: PATCH_BYTES / seconds / 1e6, imagesLeft };
}

async function measureLatencies(server: ServerProcess, image: Buffer): Promise<number[]> {
  const latenciesMs: number[] = [];
  for (let count = 0; count < LATENCY_UPLOADS; count++) {
    const path = await uploadImage(server, image);
    const answeredAtMs = performance.now();
    while (!(await isReady(server, path))) await sleep(POLL_MS);
    latenciesMs.push(performance.now() - answeredAtMs);
  }
  return latenciesMs.sort((a, b) => a - b);
}

/** @returns the upload's path */
async function uploadImage({ port }: ServerProcess, image: Buffer): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/files`, {
    method: 'POST',
    headers: {
      'Tus-Resumable': '1.0.0',
      'Upload-Length': String(image.length),
      'Content-Type': 'application/offset+octet-stream',
    },
    body: new Uint8Array(image),
  });
  if (answer.status !== 201) throw new Error(`an image is answered ${answer.status}`);
  return answer.headers.get('location') ?? '';
}

async function isReady({ port }: ServerProcess, path: string): Promise<boolean> {
  const id = path.slice(path.lastIndexOf('/') + 1);
  const { state } = (await (await fetch(`http://127.0.0.1:${port}/uploads/${id}`)).json()) as {
    state: string;
  };
  if (state === 'failed') throw new Error(`${id} failed`);
  return state === 'ready';
}

async function countUnready({ port }: ServerProcess): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/uploads/summary`);
  const { byState } = (await answer.json()) as { byState: Record<string, number> };
  return (byState.received ?? 0) + (byState.processing ?? 0);
}

async function whenReady(server: ServerProcess): Promise<void> {
  while ((await countUnready(server)) > 0) await sleep(20);
}

/** Smooth light and fine grain, as a camera sees them. */
async function photograph(width: number, height: number): Promise<Buffer> {
  const noise = { type: 'gaussian', mean: 120, sigma: 40 } as const;
  const grain = await sharp({
    create: { width: width / 4, height: height / 4, channels: 3, background: '#000', noise },
  })
    .blur(2)
    .png({ compressionLevel: 1 })
    .toBuffer();
  return sharp(grain).resize(width, height).jpeg({ quality: 92 }).toBuffer();
}

async function report(rounds: number, patches: PatchRun[], latenciesMs: number[]): Promise<void> {
  const speedOf = (state: PatchRun['state'], round: number) =>
    patches.find((run) => run.state === state && run.round === round)?.megabytesPerSecond ?? Number.NaN;
  const ratios = Array.from({ length: rounds }, (_, at) => speedOf('busy', at + 1) / speedOf('idle', at + 1));
  const ratio = median(ratios);
  const speeds = (state: PatchRun['state']) =>
    median(patches.filter((run) => run.state === state).map((run) => run.megabytesPerSecond));
  const left = median(patches.filter(({ state }) => state === 'busy').map(({ imagesLeft }) => imagesLeft));
  const p50 = median(latenciesMs);
  const p95 = latenciesMs[Math.floor(latenciesMs.length * 0.95)] ?? Number.NaN;
  const lines = [
    '| what | figure | gate |  |',
    '| --- | ---: | ---: | --- |',
    `| PATCH of 1 GiB, idle | ${speeds('idle').toFixed(0)} MB/s | | |`,
    `| the same while ${IMAGES_AT_ONCE} images of 24 megapixels are processed (${left} left at its end) | ${speeds('busy').toFixed(0)} MB/s | | |`,
    `| busy to idle, median of the rounds | ${ratio.toFixed(2)} | >= ${BUSY_TO_IDLE} | ${verdict(ratio >= BUSY_TO_IDLE)} |`,
    `| last byte to previews, 12 megapixels, p50 | ${p50.toFixed(0)} ms | <= ${READY_MS} ms | ${verdict(p50 <= READY_MS)} |`,
    `| the same, p95 | ${p95.toFixed(0)} ms | | |`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  const dir = join(import.meta.dirname, '../results');
  await mkdir(dir, { recursive: true });
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
  const path = join(dir, `${stamp}Z-pipeline.json`);
  const result = { machine: describeMachine(), rounds, ratio, p50, p95, patches, latenciesMs };
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(`\n${path}\n`);
}

function verdict(isReached: boolean): string {
  return isReached ? 'reached' : 'missed';
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

await main();
