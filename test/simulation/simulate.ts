import type { GridRules } from '../../stores/s3/rules.ts';
import { StoredUpload } from '../../stores/stored-upload.ts';
import { SimulatedClient } from './client.ts';
import { PREFIX, SimulatedServer } from './server.ts';
import { VirtualProcess } from './virtual-process.ts';
import { VirtualRedis } from './virtual-redis.ts';
import { VirtualS3 } from './virtual-s3.ts';
import { createWorld, type Violation, type Weather, type World } from './world.ts';

const END_MS = 6000;

export interface SimulationOptions {
  seed: number;
  /** Rules that are switched off. */
  rules?: Partial<GridRules>;
  weather?: Partial<Weather>;
  /** Filled with a readable history. */
  trace?: string[];
}

export interface SimulationResult {
  violation: Violation | undefined;
  steps: number;
  done: number;
  deleted: number;
  expired: number;
}

/**
 * One history: clients upload through two or three processes that run the real store, over an S3 and a Redis that
 * fail in every way; then peace returns, and everything must come to rest with the right bytes.
 */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const world = createWorld(options.seed, options.trace, options.weather ?? {});
  const { scheduler, weather } = world;
  const s3 = new VirtualS3(world);
  const redis = new VirtualRedis(world);
  const observed = new Set<string>();
  const servers = Array.from({ length: 2 + scheduler.below(2) }, (_, index) => {
    const process = new VirtualProcess(`s${index}`, world);
    return new SimulatedServer(process, world, s3, redis, options.rules ?? {});
  });
  for (const server of servers) startWorker(server, observed, world);
  const clients = Array.from({ length: weather.crowded ? 3 : 1 }, (_, index) => {
    const content = makeContent(world, index);
    return new SimulatedClient(`upload-${index}-${'x'.repeat(24)}`, content, world, servers);
  });
  watchBytes(s3, clients, world);
  for (const client of clients) {
    client.onTold = () => {
      if (!s3.objects.has(PREFIX + client.id)) world.violate('I3', 'told that all is there before it was');
    };
  }
  for (const client of clients) createUpload(s3, client, world);
  for (const client of clients) void client.run();
  startTrouble(world, servers, redis);
  await scheduler.run(END_MS, () => world.violation !== undefined);
  if (world.violation === undefined) for (const client of clients) checkEnd(client, s3, observed, world);
  return {
    violation: world.violation,
    steps: scheduler.steps,
    done: clients.filter(({ isDone }) => isDone).length,
    deleted: clients.filter(({ isDeleted }) => isDeleted).length,
    expired: clients.filter(({ isExpired }) => isExpired).length,
  };
}

function startWorker(server: SimulatedServer, observed: Set<string>, world: World): void {
  const run = () => {
    void server.work((id) => {
      world.log(`WORKER ${server.process.name} handles ${id.slice(0, 8)}`);
      observed.add(id);
    });
  };
  run();
  // A killed process loses its worker with it: it is started anew from time to time.
  for (let ms = 1600; ms < 5000; ms += 800) world.scheduler.at(ms, run);
}

function makeContent(world: World, index: number): Buffer {
  const length = world.scheduler.chance(0.02) ? 0 : 1 + world.scheduler.below(19);
  return Buffer.from(Array.from({ length }, (_, at) => 97 + ((at * 7 + index * 11) % 26)));
}

/** The 201 has been given: the info object is there. */
function createUpload(s3: VirtualS3, client: SimulatedClient, world: World): void {
  const { weather } = world;
  const upload = new StoredUpload({
    id: client.id,
    size: weather.deferredLength ? undefined : client.content.length,
    offset: 0,
    rawMetadata: undefined,
    createdAtMs: 0,
    isComplete: false,
  });
  const info = {
    format: 1,
    version: 1,
    id: upload.id,
    size: upload.size ?? null,
    rawMetadata: null,
    concat: null,
    declaredDigest: null,
    createdAtMs: 0,
    expiresAtMs: world.expirationMs > 0 ? world.expirationMs : null,
    partSize: null,
    multipartId: null,
    state: 'open',
    goneAtMs: null,
  };
  s3.put(`${PREFIX}${client.id}.info`, Buffer.from(JSON.stringify(info)));
}

/** Whatever is stored, by whomever and however late, must be what the client sent. */
function watchBytes(s3: VirtualS3, clients: SimulatedClient[], world: World): void {
  s3.onComplete = (key, body) => {
    const client = clients.find(({ id }) => key === PREFIX + id);
    if (client === undefined || !body.equals(client.content)) {
      world.violate('I2', `completed "${body}" instead of "${client?.content}"`);
    }
  };
  s3.onTail = (key, body) => {
    const client = clients.find(({ id }) => key.startsWith(`${PREFIX}${id}.tail/`));
    const base = Number(key.slice(key.indexOf('.tail/') + 6).split('-')[0]);
    if (client === undefined || !body.equals(client.content.subarray(base, base + body.length))) {
      world.violate('I4', `tail ${key} holds "${body}"`);
    }
  };
}

function startTrouble(world: World, servers: SimulatedServer[], redis: VirtualRedis): void {
  const { scheduler, weather } = world;
  const strike = (): void => {
    if (!world.isFaulty()) return;
    const { process } = servers[scheduler.below(servers.length)] as SimulatedServer;
    if (weather.storm && scheduler.chance(0.75)) {
      if (scheduler.chance(0.7)) redis.flush();
      else process.stop(5 + scheduler.below(40));
      scheduler.at(3 + scheduler.below(25), strike);
      return;
    }
    const luck = scheduler.random();
    if (luck < 0.28) process.kill();
    else if (luck < 0.6) process.stop(20 + scheduler.below(200));
    else if (luck < 0.68) redis.flush();
    else if (luck < 0.76) redis.goAway(scheduler.below(120));
    else if (luck < 0.86 && weather.redisRestores) redis.restoreSnapshot();
    else redis.takeSnapshot();
    scheduler.at(10 + scheduler.below(90), strike);
  };
  scheduler.at(scheduler.below(60), strike);
}

function checkEnd(client: SimulatedClient, s3: VirtualS3, observed: Set<string>, world: World): void {
  const key = PREFIX + client.id;
  const object = s3.objects.get(key);
  const tails = [...s3.objects.keys()].filter((name) => name.startsWith(`${key}.tail/`));
  const multiparts = [...s3.multiparts.values()].filter((multipart) => multipart.key === key);
  const isOver = client.isDeleted || client.isExpired;
  if (client.isDone && !isOver) {
    if (object === undefined)
      world.violate('I3', 'the client was told that all is there, and there is no object');
    else if (!object.body.equals(client.content)) world.violate('I2', 'the object is not what was sent');
    if (!observed.has(client.id)) world.violate('I3', 'the finish event was never handled');
  }
  if (client.isDone || isOver) {
    if (tails.length > 0) world.violate('LEAK', `tails left: ${tails.join(' ')}`);
    if (multiparts.length > 0) world.violate('LEAK', `${multiparts.length} multipart uploads left`);
  }
  if (isOver && object !== undefined) world.violate('LEAK', 'the object is there after its deletion');
}
