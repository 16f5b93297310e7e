/*
 * npm run test:faults -- --seeds 200            seeds 1 to 200
 * npm run test:faults -- --from 1000 --seeds 50
 * npm run test:faults -- --seed 17              one seed, with its trace
 * npm run test:faults -- --jobs 4               four seeds at once (default 2)
 * npm run test:faults -- --topology s3          two processes over S3 and Redis, with failing S3 calls
 * npm run test:faults -- --topology finish      uploads are finished while the process is killed: previews, webhooks
 * npm run test:faults -- --topology finish-s3   the same, by two API servers and two workers over S3 and Redis
 */
import { parseArgs } from 'node:util';
import { createFileTopology } from './file-topology.ts';
import { runFinishingSeed } from './finishing.ts';
import { describeFailure, runSeeds, seedRange } from './run-seeds.ts';
import { createS3Topology, startS3Services } from './s3-topology.ts';
import type { CreateTopology } from './topology.ts';

/** What a campaign runs against, and how to end what was started for it. */
const TOPOLOGIES: Record<string, () => Promise<Campaign>> = {
  file: async () => ({ create: createFileTopology, stop: async () => {} }),
  finish: async () => ({ create: createFileTopology, run: runFinishingSeed, stop: async () => {} }),
  s3: async () => {
    const services = await startS3Services();
    return { create: createS3Topology(services), stop: () => services.stop() };
  },
  'finish-s3': async () => {
    const services = await startS3Services();
    const create = createS3Topology(services, ['api', 'api', 'worker', 'worker']);
    return { create, run: runFinishingSeed, stop: () => services.stop() };
  },
};

interface Campaign {
  create: CreateTopology;
  run?: typeof runFinishingSeed;
  stop(): Promise<void>;
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '25' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    jobs: { type: 'string', default: '2' },
    topology: { type: 'string', default: 'file' },
  },
});

const prepare = TOPOLOGIES[values.topology];
if (prepare === undefined) {
  throw new Error(`--topology must be one of ${Object.keys(TOPOLOGIES).join(', ')}`);
}
const seeds =
  values.seed === undefined
    ? seedRange(wholeNumber('from', values.from), wholeNumber('seeds', values.seeds))
    : [wholeNumber('seed', values.seed)];
const isSingle = values.seed !== undefined;

const topology = await prepare();
const startedAt = performance.now();
const results = await runSeeds({
  seeds,
  jobs: wholeNumber('jobs', values.jobs),
  createTopology: topology.create,
  ...(topology.run === undefined ? {} : { run: topology.run }),
  onResult(result) {
    if (result.failure !== undefined) return console.log(`\n${describeFailure(result, values.topology)}\n`);
    if (isSingle) console.log(result.trace.join('\n'));
    const seconds = (result.durationMs / 1000).toFixed(1);
    const mib = (result.bytes / 1024 / 1024).toFixed(1);
    console.log(
      `seed ${result.seed}: ok, ${result.uploads} uploads, ${mib} MiB, ${result.kills} kills, ${seconds} s`,
    );
  },
});

await topology.stop();

const failed = results.filter((result) => result.failure !== undefined);
const kills = results.reduce((sum, result) => sum + result.kills, 0);
const seconds = Math.round((performance.now() - startedAt) / 1000);
console.log(
  `${results.length - failed.length} of ${results.length} seeds as they must be, ${kills} kills, ${seconds} s`,
);
if (failed.length > 0) {
  console.log(`failed: ${failed.map((result) => result.seed).join(', ')}`);
  process.exitCode = 1;
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} must be a whole number`);
  return value;
}
