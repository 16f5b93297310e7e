import { type Check, type Finding, fail, fatal, ok, warn } from '../types.ts';
import type { RedisInfo, RedisProbe } from './probe.ts';

const READY_TIMEOUT_MS = 4_000;
/** A problem that lasts so long is not one of a connection that is just being made. */
const PROBLEM_MS = 1_000;
/** Scripts that ask for the time and write afterwards need effect replication. */
const LEAST_MAJOR = 5;
/** What Landfall is tested with. */
const TESTED_MAJOR = 7;

/** Does it answer, what is it, and may it be written to? */
export function reachCheck(probe: RedisProbe): Check {
  const { nodes, target } = probe;
  return {
    name: 'reach',
    async run() {
      const problem = await waitUntilReady(probe);
      if (problem !== undefined) return [explain(problem, target.isTls)];
      const findings: Finding[] = [];
      let infos: RedisInfo[];
      try {
        infos = (await nodes()).map(({ info }) => info);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        return [
          fatal(
            `INFO is refused: ${reason}.`,
            'Allow INFO: the locks need it to notice a Redis that lost them.',
          ),
        ];
      }
      const [first] = infos;
      if (first === undefined) return [fatal('The Cluster has no masters.', 'Finish setting it up.')];
      const { name, version } = versionOf(first);
      const major = Number.parseInt(version, 10);
      if (name === 'Redis' && major < LEAST_MAJOR) {
        findings.push(
          fail(`Redis ${version} is too old: its scripts cannot ask for the time.`, 'Use Redis 7 or newer.'),
        );
      } else if (name === 'Redis' && major < TESTED_MAJOR) {
        findings.push(
          warn(`Redis ${version} is older than what Landfall is tested with.`, 'Use Redis 7 or newer.'),
        );
      }
      return findings.length > 0 ? findings : [ok(`${name} ${version} answers.`)];
    },
  };
}

/** What is in the way; undefined when it answers. */
async function waitUntilReady({ connection, lastProblem }: RedisProbe): Promise<string | undefined> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let problemSince: number | undefined;
  while (!connection.isReady()) {
    const now = performance.now();
    if (lastProblem() !== undefined) problemSince ??= now;
    if (now > deadline || now - (problemSince ?? now) > PROBLEM_MS) {
      return lastProblem() ?? 'no answer in time';
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return connection.whenReady(READY_TIMEOUT_MS).then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
}

function versionOf(info: RedisInfo): { name: string; version: string } {
  const valkey = info.get('valkey_version');
  return valkey === undefined
    ? { name: 'Redis', version: info.get('redis_version') ?? 'unknown' }
    : { name: 'Valkey', version: valkey };
}

function explain(problem: string, isTls: boolean): Finding {
  if (/WRONGPASS|invalid password|invalid username/i.test(problem)) {
    return fatal(
      'Redis refuses the user or the password.',
      'Correct LANDFALL_REDIS_URL: redis://user:password@host:port.',
    );
  }
  if (/NOAUTH|Authentication required/i.test(problem)) {
    return fatal('Redis wants a password.', 'Put it into LANDFALL_REDIS_URL: redis://:password@host:port.');
  }
  if (/cert|SSL|TLS|packet length|wrong version number|self.signed/i.test(problem)) {
    return fatal(
      `No trusted TLS connection: ${problem}.`,
      'Check rediss:// against redis://, and ?ca=… for a private authority.',
    );
  }
  if (/sentinel/i.test(problem)) {
    return fatal(
      `The Sentinels name no master that can be reached: ${problem}.`,
      'Check the name of the master in LANDFALL_REDIS_URL, and that its address can be reached from here.',
    );
  }
  const tls = isTls ? ' that it speaks TLS there (rediss://),' : '';
  return fatal(
    `Redis cannot be reached: ${problem}.`,
    `Check host and port in LANDFALL_REDIS_URL, that it runs,${tls} and what is between it and this machine. Without it, no upload is taken.`,
  );
}
