import { parseArgs } from 'node:util';
import { peerVariant, type Variant } from './variants.ts';
import { WORKLOAD_NAMES } from './workloads.ts';

export interface BenchOptions {
  isQuick: boolean;
  rounds: number;
  /** No traffic between the forced collection and a run. */
  isIdleStart: boolean;
  /** Names of workloads; empty: all. */
  only: string[];
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
      peer: { type: 'string', multiple: true, default: [] },
      dir: { type: 'string' },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? QUICK_ROUNDS : DEFAULT_ROUNDS));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds: expected a number from 1 on');
  const only = values.only.split(',').filter((name) => name !== '');
  for (const name of only) {
    if (!WORKLOAD_NAMES.some((known) => known === name))
      throw new Error(`--only: there is no workload ${name}`);
  }
  return {
    isQuick: values.quick,
    rounds,
    isIdleStart: values['idle-start'],
    only,
    peers: values.peer.map(peerVariant),
    dir: values.dir,
  };
}
