import { setTimeout as sleep } from 'node:timers/promises';
import { exchange } from './client.ts';
import { planUpload } from './plan.ts';
import { createRandom, sha256Hex } from './random.ts';
import type { CreateTopology, Topology } from './topology.ts';
import { UploadActor, type UploadResult } from './upload-actor.ts';
import { uploadInParts } from './upload-in-parts.ts';
import { Trace, Violation, World } from './world.ts';

export interface SeedResult {
  seed: number;
  /** Why it failed; undefined: it did not. */
  failure: string | undefined;
  trace: string[];
  uploads: number;
  bytes: number;
  kills: number;
  durationMs: number;
}

const SEED_TIMEOUT_MS = 90_000;
/** Of all clients: those that make a final upload of partial ones. */
const IN_PARTS_PROBABILITY = 0.2;
const SETTLE_TIMEOUT_MS = 15_000;

/**
 * One seed: one to three clients upload at once to servers that are killed and started again, then the index and
 * what is stored are compared with what the clients were told.
 *
 * The decisions follow from the seed alone; at which machine instruction a signal arrives does not. A seed that
 * failed once may need a few runs to fail again.
 */
export async function runSeed(seed: number, createTopology: CreateTopology): Promise<SeedResult> {
  const startedAt = performance.now();
  const random = createRandom(`seed ${seed}`);
  const trace = new Trace();
  const topology = await createTopology();
  const world = new World(topology, trace, random.fork('world'));
  let running: Promise<UploadResult>[] = [];
  let results: UploadResult[] = [];
  let failure: string | undefined;
  try {
    const count = random.weighted([
      [7, 1],
      [2, 2],
      [1, 3],
    ]);
    const actors = [...Array(count).keys()].map((index) => {
      const actorRandom = random.fork(`upload ${index}`);
      const plan = planUpload(actorRandom, `${seed}-${index}`);
      const name = `upload ${index}`;
      const inParts = actorRandom.fork('parts');
      return inParts.chance(IN_PARTS_PROBABILITY)
        ? () => uploadInParts(world, inParts, plan, name)
        : () => new UploadActor(world, actorRandom, plan, name).run();
    });
    running = actors.map((run) => run());
    results = await within(SEED_TIMEOUT_MS, Promise.all(running));
    await world.restartToSweep();
    await checkWhatIsLeft(topology, results);
    world.checkLog();
  } catch (error) {
    failure = explainFailure(error, topology, trace);
  } finally {
    world.end();
    await topology.dispose();
    // One that failed leaves the others behind, each with a request to a server that is gone now.
    await Promise.allSettled(running);
    await topology.dispose();
  }
  return {
    seed,
    failure,
    trace: trace.lines,
    uploads: results.length,
    bytes: results.reduce((sum, { plan }) => sum + plan.content.length, 0),
    kills: world.kills,
    durationMs: performance.now() - startedAt,
  };
}

/** Why a seed failed; the trace gets what the servers wrote last. */
export function explainFailure(error: unknown, topology: Topology, trace: Trace): string {
  const output = topology.output().split('\n').filter(isWorthReading);
  if (output.length > 0) trace.lines.push('', 'The servers wrote:', ...output.slice(-60));
  if (error instanceof Violation) return error.message;
  return String(error instanceof Error ? error.stack : error);
}

/** Anything but the greeting at start, which is indented. */
function isWorthReading(line: string): boolean {
  return line !== '' && !/^ {2,}(?!at )/.test(line);
}

/**
 * Asks until it is so: the index is rebuilt, unfinished uploads are swept and Redis is reconnected in the background. A finished upload
 * that no client knows of is one whose 201 got lost; its bytes must be right all the same.
 */
async function checkWhatIsLeft(topology: Topology, results: UploadResult[]): Promise<void> {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  for (;;) {
    const ready = await listUploads(topology, 'ready').catch((error: unknown) => String(error));
    const problem =
      typeof ready === 'string'
        ? ready
        : (problemOfListing(ready, results) ?? (await problemOfStore(topology, ready)));
    if (problem === undefined && typeof ready !== 'string') {
      await checkUnknown(topology, ready, results);
      return;
    }
    if (performance.now() > deadline) throw new Violation(problem ?? 'the uploads cannot be listed');
    await sleep(50);
  }
}

function problemOfListing(ready: ListedUpload[], results: UploadResult[]): string | undefined {
  for (const { id, end, plan } of results) {
    const listed = ready.filter((upload) => upload.id === id);
    if (end === 'deleted') {
      if (listed.length > 0) return `the deleted upload ${id} is listed as ready`;
      continue;
    }
    if (listed.length !== 1) return `${id} is listed as ready ${listed.length} times`;
    if (listed[0]?.size !== plan.content.length) return `${id} is listed with size ${listed[0]?.size}`;
  }
  return undefined;
}

async function problemOfStore(topology: Topology, ready: ListedUpload[]): Promise<string | undefined> {
  try {
    const leftovers = await topology.leftovers(new Set(ready.map((upload) => upload.id)));
    return leftovers.length === 0 ? undefined : `left behind: ${leftovers.join(', ')}`;
  } catch (error) {
    return String(error);
  }
}

async function checkUnknown(
  topology: Topology,
  ready: ListedUpload[],
  results: UploadResult[],
): Promise<void> {
  const known = new Set(results.map((result) => result.id));
  const contents = new Set(results.map(({ plan }) => plan.sha256));
  for (const { id } of ready.filter((upload) => !known.has(upload.id))) {
    const { status, body } = await exchange({ method: 'GET', url: `${topology.origin}/files/${id}` }).outcome;
    if (status !== 200 || !contents.has(sha256Hex(body))) {
      throw new Violation(
        `${id}, of a creation that was not answered, is served with ${status} and other bytes`,
      );
    }
  }
}

interface ListedUpload {
  id: string;
  size: number | null;
}

async function listUploads(topology: Topology, state: string): Promise<ListedUpload[]> {
  const uploads: ListedUpload[] = [];
  let cursor: string | null = null;
  do {
    const query = new URLSearchParams({ state, limit: '2', ...(cursor === null ? {} : { cursor }) });
    const { status, body } = await exchange({ method: 'GET', url: `${topology.origin}/uploads?${query}` })
      .outcome;
    if (status !== 200) throw new Violation(`GET /uploads is answered ${status}`);
    const page = JSON.parse(body.toString()) as { uploads: ListedUpload[]; nextCursor: string | null };
    uploads.push(...page.uploads);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return uploads;
}

export async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Violation(`not done in ${timeoutMs} ms`)), timeoutMs);
  });
  return Promise.race([work, timeout]).finally(() => clearTimeout(timer));
}
