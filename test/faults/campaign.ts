/*
 * npm run test:faults -- --seeds 200            seeds 1 to 200
 * npm run test:faults -- --from 1000 --seeds 50
 * npm run test:faults -- --seed 17              one seed, with its trace
 * npm run test:faults -- --jobs 4               four seeds at once (default 2)
 * npm run test:faults -- --topology s3          two processes over S3 and Redis, with failing S3 calls
 */
import { parseArgs } from 'node:util';
import { createFileTopology } from './file-topology.ts';
import { describeFailure, runSeeds, seedRange } from './run-seeds.ts';
import { createS3Topology, startS3Services } from './s3-topology.ts';
import type { CreateTopology } from './topology.ts';

/** What a campaign runs against, and how to end what was started for it. */
const TOPOLOGIES: Record<string, () => Promise<{ create: CreateTopology; stop(): Promise<void> }>> = {
  file: async () => ({ create: createFileTopology, stop: async () => {} }),
  s3: async () => {
    const services = await startS3Services();
    return { create: createS3Topology(services), stop: () => services.stop() };
  },
};

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
  onResult(result) {
    if (result.failure !== undefined) return console.log(`\n${describeFailure(result)}\n`);
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
  `${results.length - failed.length} of ${results.length} seeds byte-exact, ${kills} kills, ${seconds} s`,
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
