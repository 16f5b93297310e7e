import type { JobData, NewJob } from './types.ts';

/*
 * What is the same in every queue: what a job may be, and how long one that was given up is remembered.
 */

const ID = /^[A-Za-z0-9:._-]{1,200}$/;
const KIND = /^[a-z][a-z0-9-]{0,39}$/;
const MAX_DATA_BYTES = 16 * 1024;

/** So long an operator can see what was given up, and asking for it again changes nothing. */
export const KEEP_GIVEN_UP_MS = 7 * 24 * 3600_000;
/** Of one kind: past this, the oldest are forgotten. */
export const KEEP_GIVEN_UP_JOBS = 10_000;

/** The job's data as JSON. Throws a RangeError for what no queue takes. */
export function checkJob({ id, kind, data = {}, delayMs = 0 }: NewJob): string {
  if (!ID.test(id)) throw new RangeError(`not the id of a job: ${JSON.stringify(id)}`);
  checkKind(kind);
  if (!(delayMs >= 0 && delayMs <= Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`a job cannot wait ${delayMs} ms`);
  }
  const json = JSON.stringify(data);
  if (Buffer.byteLength(json) > MAX_DATA_BYTES) throw new RangeError(`the data of job ${id} is too large`);
  return json;
}

export function checkKind(kind: string): void {
  if (!KIND.test(kind)) throw new RangeError(`not a kind of job: ${JSON.stringify(kind)}`);
}

/** What `checkJob` wrote. */
export function parseJobData(json: string): JobData {
  return JSON.parse(json) as JobData;
}
