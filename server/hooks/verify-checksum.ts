import { CHECKSUM_MISMATCH } from '../pipeline/rejection.ts';
import type { WorkPlan } from '../pipeline/work-plan.ts';
import type { Hook } from './types.ts';

/**
 * Compares what arrived with what its client declared. The digest was computed while the bytes came in, where one
 * process saw all of them; else the original is read again. Run twice, it finds the same.
 */
export function createVerifyChecksum(plan: WorkPlan): Hook {
  return {
    name: 'verify-checksum',
    appliesTo: (record) => plan.mustVerify(record),
    async run({ record, original, announce }) {
      const sha256 = record.sha256 ?? (await original.sha256());
      if (plan.isMismatch({ ...record, sha256 })) {
        return { patch: { sha256 }, rejection: CHECKSUM_MISMATCH };
      }
      await announce('verified', { sha256 });
      return { patch: { sha256 } };
    },
  };
}
