import { parseArgs } from 'node:util';
import { S3_TARGETS, type S3TargetName } from './s3/target.ts';
import { peerVariant, type Variant } from './variants.ts';
import { WORKLOAD_NAMES } from './workloads.ts';

export interface BenchOptions {
  isQuick: boolean;
  rounds: number;
  /** No traffic between the forced collection and a run. */
  isIdleStart: boolean;
  /** Names of workloads; empty: all. */
  only: string[];
  /** Runs the S3 suite on this S3 server, instead of everything else. */
  s3: S3TargetName | undefined;
  peers: Variant[];
  /** Where the servers keep what they get; undefined: chosen by the room there is. */
  dir: string | undefined;
}

const DEFAULT_ROUNDS = 5;
const QUICK_ROUNDS = 3;

export const USAGE = `npm run bench -- [options]
  --quick              a quarter of the bytes, ${QUICK_ROUNDS} rounds
  --rounds N           default ${DEFAULT_ROUNDS}
  --only A,B           ${WORKLOAD_NAMES.join(', ')}
  --only s3            uploads into S3 against the stock S3 store: a suite of its own
  --s3 SERVER          for that suite: ${S3_TARGETS.join(', ')} (default sink, an S3 stand-in)
  --peer name=COMMAND  another tus server, at /files/ (repeatable); {port} and {dir} are filled in
                       --peer 'tusd=tusd -host 127.0.0.1 -port {port} -upload-dir {dir}'
  --idle-start         no traffic between the forced collection and a run
  --dir PATH           keep the servers' files there (default: /dev/shm if there is room)
`;

/** @throws Error with a sentence for the person who typed it. */
export function parseOptions(args: string[]): BenchOptions {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      'idle-start': { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      s3: { type: 'string' },
      peer: { type: 'string', multiple: true, default: [] },
      dir: { type: 'string' },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? QUICK_ROUNDS : DEFAULT_ROUNDS));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds: expected a number from 1 on');
  const only = values.only.split(',').filter((name) => name !== '');
  const s3 = parseS3(only, values.s3);
  for (const name of s3 === undefined ? only : []) {
    if (!WORKLOAD_NAMES.some((known) => known === name))
      throw new Error(`--only: there is no workload ${name}`);
  }
  return {
    isQuick: values.quick,
    rounds,
    isIdleStart: values['idle-start'],
    only,
    s3,
    peers: values.peer.map(peerVariant),
    dir: values.dir,
  };
}

/** Undefined: the S3 suite was not asked for. */
function parseS3(only: string[], target: string | undefined): S3TargetName | undefined {
  if (target === undefined && !only.includes('s3')) return undefined;
  if (only.some((name) => name !== 's3'))
    throw new Error('--only: s3 is a suite of its own, to be run alone');
  const found = S3_TARGETS.find((name) => name === (target ?? 'sink'));
  if (found === undefined) throw new Error(`--s3: expected one of ${S3_TARGETS.join(', ')}`);
  return found;
}
