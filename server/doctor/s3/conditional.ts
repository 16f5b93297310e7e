import { randomBytes } from 'node:crypto';
import { isS3Failure } from '../../../stores/s3/port.ts';
import { type Check, type Finding, fail, ok } from '../types.ts';
import { explainS3Failure } from './explain-failure.ts';
import type { S3Probe } from './probe.ts';

const RACERS = 4;
const ROUNDS = 3;
const LOST =
  'Two processes could then both decide about the same upload: it may end twice, or with the parts of one and the ' +
  'length of the other. Landfall does not get ready on such a bucket.';
const CHANGE =
  'Use a service, or a version of it, with conditional writes on PutObject: Amazon S3, R2, Ceph, SeaweedFS from 4.18 on, RustFS.';
const ATTEMPT = { doing: 'Writing under a condition', permission: 's3:PutObject' };

/** If-None-Match and If-Match on PUT: everything that has to happen once is decided by them. */
export function conditionalCheck({ port, prefix }: S3Probe): Check {
  /** How many of several writers at once were told that they had won; undefined when that could not be told. */
  async function race(key: string, condition: { ifNoneMatch: '*' } | { ifMatch: string }) {
    const bodies = Array.from({ length: RACERS }, () => randomBytes(16));
    const outcomes = await Promise.allSettled(
      bodies.map((body) => port.putObject({ key, body, ...condition })),
    );
    const winners = bodies.filter((_, index) => outcomes[index]?.status === 'fulfilled');
    const { body } = await port.getObject(key);
    return { winners: winners.length, isWinnerStored: winners.some((winner) => winner.equals(body)) };
  }

  /** Was the condition honoured: is what should be refused refused? */
  async function isRefused(
    key: string,
    condition: { ifNoneMatch: '*' } | { ifMatch: string },
  ): Promise<boolean> {
    try {
      await port.putObject({ key, body: Buffer.from('must not be stored'), ...condition });
      return false;
    } catch (error) {
      if (isS3Failure(error, 'precondition_failed')) return true;
      throw error;
    }
  }

  return {
    name: 'conditions',
    async run() {
      const key = `${prefix}conditional`;
      const findings: Finding[] = [];
      try {
        await port.putObject({ key, body: Buffer.from('first'), ifNoneMatch: '*' });
        if (!(await isRefused(key, { ifNoneMatch: '*' }))) {
          findings.push(fail(`The bucket ignores If-None-Match on PUT. ${LOST}`, CHANGE));
        }
        if (!(await isRefused(key, { ifMatch: '"0123456789abcdef0123456789abcdef"' }))) {
          findings.push(fail(`The bucket ignores If-Match on PUT. ${LOST}`, CHANGE));
        }
        const { etag } = await port.putObject({ key, body: Buffer.from('second') });
        await port.putObject({ key, body: Buffer.from('third'), ifMatch: etag });
        if (findings.length > 0) return findings;
        for (let round = 1; round <= ROUNDS; round += 1) {
          const raced = `${key}-${round}`;
          const created = await race(raced, { ifNoneMatch: '*' });
          const current = await port.getObject(raced);
          const changed = await race(raced, { ifMatch: current.etag });
          for (const [header, { winners, isWinnerStored }] of [
            ['If-None-Match', created],
            ['If-Match', changed],
          ] as const) {
            if (winners <= 1 && (winners === 0 || isWinnerStored)) continue;
            return [
              fail(
                `${header} is honoured for one writer at a time, but of ${RACERS} at once ${winners} were told that they had won. ${LOST}`,
                CHANGE,
              ),
            ];
          }
        }
      } catch (error) {
        return [...findings, explainS3Failure(error, ATTEMPT)];
      }
      return [ok('If-None-Match and If-Match on PUT are honoured, also by several writers at once.')];
    },
  };
}
