import type { GroupCommit } from '../sqlite/group-commit.ts';
import { PATCH_COLUMNS } from './schema.ts';
import type { UploadCounters, UploadPatch, UploadRecord, UploadState } from './types.ts';

/** Records that are not in the database yet. What it says of any other one holds. */
export interface UnwrittenRecords {
  add(record: UploadRecord): void;
  has(id: string): boolean;
  get(id: string): UploadRecord | undefined;
  /** Undefined, and nothing changed: not one of these, or not in one of the states in `from`. */
  change(id: string, change: RecordChange): UploadRecord | undefined;
  /** False: not one of these. */
  remove(id: string): boolean;
}

/** What UploadCatalog.update or, with states, UploadCatalog.transition is given. */
export interface RecordChange {
  from?: readonly UploadState[] | undefined;
  to?: UploadState | undefined;
  patch: UploadPatch;
  add: UploadCounters;
  /** What `updatedAtMs` becomes, unless the patch says it. */
  nowMs: number;
}

/**
 * Most uploads are small, and come to their end within the milliseconds in which writes are gathered for a commit:
 * their records are kept here that long, and written once, as they are by then.
 *
 * @param insert writes a record, unless the database has one by that id
 */
export function createUnwrittenRecords(
  transaction: Pick<GroupCommit, 'defer'>,
  insert: (record: UploadRecord) => void,
): UnwrittenRecords {
  const records = new Map<string, UploadRecord>();

  return {
    add(record) {
      const { id } = record;
      records.set(id, { ...record });
      try {
        transaction.defer(() => {
          const latest = records.get(id);
          records.delete(id);
          if (latest !== undefined) insert(latest);
        });
      } catch (error) {
        records.delete(id);
        throw error;
      }
    },

    has: (id) => records.has(id),

    get(id) {
      const record = records.get(id);
      return record && { ...record };
    },

    change(id, change) {
      const record = records.get(id);
      if (record === undefined || change.from?.includes(record.state) === false) return undefined;
      apply(record, change);
      return { ...record };
    },

    remove: (id) => records.delete(id),
  };
}

/** As an UPDATE with the same patch and counters does it. */
function apply(record: UploadRecord, { to, patch, add, nowMs }: RecordChange): void {
  const fields = record as unknown as Record<string, unknown>;
  const counters: Partial<Record<keyof UploadPatch, number>> = add;
  if (to !== undefined) record.state = to;
  for (const column of PATCH_COLUMNS) {
    const value = column === 'updatedAtMs' ? (patch.updatedAtMs ?? nowMs) : patch[column];
    if (value !== undefined) fields[column] = value;
    const more = counters[column];
    if (more !== undefined) fields[column] = Number(fields[column]) + more;
  }
}
