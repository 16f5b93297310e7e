import { type Check, fail, ok, warn } from '../types.ts';
import type { S3Probe, SeenAnswer } from './probe.ts';

/** What the store allows for between processes when it decides that something is old. */
const ALLOWED_MS = 5_000;
/** S3 refuses requests whose date is off by 15 minutes. */
const REFUSED_MS = 10 * 60_000;

/** Our clock against the Date of S3's answers. Expiry and signatures depend on it. */
export function clockCheck({ answers }: S3Probe): Check {
  return {
    name: 'clock',
    async run() {
      const aheadMs = clockDifferenceMs(answers);
      if (aheadMs === undefined) return [ok('The service sends no Date: nothing to compare the clock with.')];
      const apart = `${(Math.abs(aheadMs) / 1000).toFixed(1)} s ${aheadMs > 0 ? 'ahead of' : 'behind'}`;
      const change = 'Synchronise the clocks of this machine and of the S3 server (NTP).';
      if (Math.abs(aheadMs) > REFUSED_MS) {
        return [
          fail(`This machine's clock is ${apart} S3's. From 15 minutes on S3 refuses every request.`, change),
        ];
      }
      if (Math.abs(aheadMs) > ALLOWED_MS) {
        return [warn(`This machine's clock is ${apart} S3's: uploads expire too early or too late.`, change)];
      }
      return [ok("This machine's clock and S3's agree.")];
    },
  };
}

/** How far ours is ahead, in milliseconds, within the second that Date is exact to; undefined without any Date. */
export function clockDifferenceMs(answers: readonly SeenAnswer[]): number | undefined {
  const differences = answers.flatMap(({ headers, sentAtMs, receivedAtMs }) => {
    const dateMs = Date.parse(headers.date ?? '');
    if (Number.isNaN(dateMs)) return [];
    // Anything between these two would explain the answer.
    const least = sentAtMs - (dateMs + 1000);
    const most = receivedAtMs - dateMs;
    return [least > 0 ? least : most < 0 ? most : 0];
  });
  return differences.sort((a, b) => Math.abs(a) - Math.abs(b))[0];
}
