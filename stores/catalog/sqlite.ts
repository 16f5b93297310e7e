import type { SQLInputValue, StatementSync } from 'node:sqlite';
import { type Clock, systemClock } from '../clock.ts';
import type { StoreError } from '../errors.ts';
import {
  openDatabaseFile,
  openOrRecreate,
  type RecreatedEvent,
  translateSqliteError,
} from '../sqlite/database-file.ts';
import { createGroupCommit } from '../sqlite/group-commit.ts';
import { checkPageLimit, decodeCursor, encodeCursor } from './cursor.ts';
import {
  COLUMN_LIST,
  COLUMNS,
  MIGRATIONS,
  PATCH_COLUMNS,
  quote,
  type TotalsRow,
  toRecord,
  type UploadRow,
} from './schema.ts';
import type {
  CatalogTotals,
  UploadCatalog,
  UploadCounters,
  UploadFilter,
  UploadPage,
  UploadPatch,
  UploadRecord,
  UploadState,
} from './types.ts';
import { PARTIALS_OWNER_SUFFIX, UPLOAD_STATES } from './types.ts';
import { createUnwrittenRecords } from './unwritten-records.ts';

/*
 * The catalog of one process, in one SQLite file (`path`, and beside it `-wal` and `-shm` while it is open).
 *
 * A write runs at once, in a transaction that is committed for many writes together (50 ms or 400 writes later):
 * that makes it cost microseconds. A new record is kept in memory until that commit (unwritten-records.ts). Reads go
 * over the same connection and see every write. A crash of the process therefore loses the last 50 ms of rows, and a
 * power cut somewhat more; the file itself stays consistent. That is fine because the directory of uploads is the
 * truth: at start it is compared with the catalog, and what the catalog lacks is put right. If the file is damaged or
 * deleted, the same comparison builds a new one.
 *
 * Calls block the process for as long as SQLite works, which is why everything here is one indexed statement.
 */

export interface SqliteCatalogOptions {
  path: string;
  clock?: Clock;
  /**
   * Told of every failed commit, with the number of writes that are lost by it (0: it is tried again). After a
   * loss the catalog has to be compared with the store again. `flush` and `check` reject as well, at least once.
   */
  onCommitFailed?: (error: StoreError, lostWrites: number) => void;
}

/**
 * Opens or creates the catalog at `path`. Throws upload_damaged (naming the file) when the file is not a sound
 * database, and store_unavailable when it cannot be opened or comes from a newer version.
 */
export function openSqliteCatalog({
  path,
  clock = systemClock,
  onCommitFailed,
}: SqliteCatalogOptions): UploadCatalog {
  const db = openDatabaseFile({ path, migrations: MIGRATIONS });
  const transaction = createGroupCommit({ db, path, clock, onCommitFailed });
  /** By their SQL. Its shapes come from our code, never from a client: there are a few dozen. */
  const statements = new Map<string, StatementSync>();

  function prepare(sql: string): StatementSync {
    let statement = statements.get(sql);
    if (statement === undefined) {
      statement = db.prepare(sql);
      statements.set(sql, statement);
    }
    return statement;
  }

  function read<T>(query: () => T): T {
    try {
      return query();
    } catch (error) {
      throw translateSqliteError(error, path);
    }
  }

  /** For statements that answer with `COLUMNS`. Rows as arrays: objects from SQLite cost several times as much. */
  function prepareRows(sql: string): StatementSync {
    const statement = prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  }

  const insert = prepare(`
    INSERT INTO uploads (${COLUMN_LIST}) VALUES (${COLUMNS.map(() => '?').join()})
    ON CONFLICT ("id") DO NOTHING`);
  const selectById = prepareRows(`SELECT ${COLUMN_LIST} FROM uploads WHERE "id" = ?`);
  const deleteById = prepare('DELETE FROM uploads WHERE "id" = ?');
  const countOpen = prepare(
    `SELECT count(*) AS open FROM uploads WHERE "owner" = ? AND "state" = 'receiving'`,
  );
  const selectTotals = prepare('SELECT * FROM totals');

  function readRecord(id: string): UploadRecord | undefined {
    const row = selectById.get(id);
    return row && toRecord(row as unknown as UploadRow);
  }

  /** Until when, by name. In memory: the database is this process's own, and a new one starts its work anew. */
  const claims = new Map<string, number>();

  const unwritten = createUnwrittenRecords(transaction, (record) => {
    insert.run(...COLUMNS.map((column) => record[column]));
  });

  function create(record: UploadRecord): UploadRecord {
    const known = find(record.id);
    if (known !== undefined) return known;
    unwritten.add(record);
    return { ...record };
  }

  function find(id: string): UploadRecord | undefined {
    return unwritten.get(id) ?? read(() => readRecord(id));
  }

  function hasRoom(owner: string, maxOpen: number): boolean {
    transaction.settle();
    const openOf = (key: string) => read(() => Number(countOpen.get(key)?.open));
    const isPartial = owner.endsWith(PARTIALS_OWNER_SUFFIX);
    const whole = isPartial ? owner.slice(0, -PARTIALS_OWNER_SUFFIX.length) : owner;
    const hasPartials = openOf(whole + PARTIALS_OWNER_SUFFIX) > 0;
    if (isPartial && hasPartials) return true;
    return openOf(whole) + (hasPartials ? 1 : 0) < maxOpen;
  }

  return {
    async create(record) {
      return create(record);
    },

    /** One step, because nothing else runs in between: the catalog belongs to one process. */
    async createWithin(record, maxOpen) {
      if (record.owner === null || hasRoom(record.owner, maxOpen)) return create(record);
      return find(record.id);
    },

    async get(id) {
      return find(id);
    },

    async list(filter, { limit, cursor }) {
      checkPageLimit(limit);
      transaction.settle();
      const { sql, values } = listQuery(filter, cursor);
      const rows = read(() => prepareRows(sql).all(...values, limit + 1));
      return toPage(rows as unknown as UploadRow[], limit);
    },

    async transition(id, from, to, patch = {}, add = {}) {
      const states = typeof from === 'string' ? [from] : from;
      if (states.length === 0) return undefined;
      if (unwritten.has(id)) {
        return unwritten.change(id, { from: states, to, patch, add, nowMs: clock.now() });
      }
      const { assignments, values } = assignmentsOf(patch, add, clock.now());
      const sql = `UPDATE uploads SET "state" = ?, ${assignments}
        WHERE "id" = ? AND "state" IN (${states.map(() => '?').join()}) RETURNING ${COLUMN_LIST}`;
      const row = transaction.write(() => prepareRows(sql).get(to, ...values, id, ...states));
      return row && toRecord(row as unknown as UploadRow);
    },

    async update(id, patch, add = {}) {
      if (unwritten.has(id)) {
        unwritten.change(id, { patch, add, nowMs: clock.now() });
        return;
      }
      const { assignments, values } = assignmentsOf(patch, add, clock.now());
      const sql = `UPDATE uploads SET ${assignments} WHERE "id" = ?`;
      transaction.write(() => prepare(sql).run(...values, id));
    },

    async remove(id) {
      if (unwritten.remove(id)) return;
      transaction.write(() => deleteById.run(id));
    },

    async totals() {
      transaction.settle();
      return toTotals(read(() => selectTotals.all() as unknown as TotalsRow[]));
    },

    async claim(name, forMs) {
      if ((claims.get(name) ?? 0) > clock.now()) return false;
      claims.set(name, clock.now() + forMs);
      return true;
    },

    async extendClaim(name, forMs) {
      claims.set(name, clock.now() + forMs);
    },

    async flush() {
      transaction.flush();
    },

    /** Writes for real: a full disk or a file gone read-only shows here. */
    async check() {
      const version = read(() => Number(prepare('PRAGMA user_version').get()?.user_version));
      transaction.write(() => prepare(`PRAGMA user_version = ${version}`).run());
      transaction.flush();
    },

    /** Commits and closes; harmless twice. Rejects, but closes all the same, when the commit fails. */
    async close() {
      if (!db.isOpen) return;
      try {
        transaction.flush();
      } finally {
        db.close();
      }
    },
  };
}

export interface RecreateOptions extends SqliteCatalogOptions {
  /** Told when a damaged file was moved to `damagedPath` and an empty catalog took its place. */
  onRecreated?: (event: RecreatedEvent) => void;
}

/** Like `openSqliteCatalog`, but a damaged file gives way to a new, empty catalog: the caller fills it from the store. */
export function openOrRecreateSqliteCatalog({ onRecreated, ...options }: RecreateOptions): UploadCatalog {
  return openOrRecreate({ path: options.path, clock: options.clock, onRecreated }, () =>
    openSqliteCatalog(options),
  );
}

/** The SET clause for a patch and counters. A counter that the patch sets starts from there. */
function assignmentsOf(patch: UploadPatch, add: UploadCounters, nowMs: number) {
  const assignments: string[] = [];
  const values: SQLInputValue[] = [];
  const counters: Partial<Record<keyof UploadPatch, number>> = add;
  for (const column of PATCH_COLUMNS) {
    const value = column === 'updatedAtMs' ? (patch.updatedAtMs ?? nowMs) : patch[column];
    const more = counters[column];
    if (value !== undefined) {
      assignments.push(`${quote(column)} = ?`);
      values.push(more === undefined ? value : Number(value) + more);
    } else if (more !== undefined) {
      assignments.push(`${quote(column)} = ${quote(column)} + ?`);
      values.push(more);
    }
  }
  return { assignments: assignments.join(), values };
}

/** Each filter walks one index in the list's order, from the cursor on: the cost is that of the page. */
function listQuery(filter: UploadFilter, cursor: string | undefined) {
  const conditions: string[] = [];
  const values: SQLInputValue[] = [];
  if (filter.group !== undefined) {
    conditions.push('"group" = ?');
    values.push(filter.group);
  }
  if (filter.state !== undefined) {
    // The `+` keeps SQLite from walking all uploads of a state where the group says more.
    conditions.push(filter.group === undefined ? '"state" = ?' : '+"state" = ?');
    values.push(filter.state);
  }
  if (cursor !== undefined) {
    const after = decodeCursor(cursor);
    conditions.push('("createdAtMs", "id") < (?, ?)');
    values.push(after.createdAtMs, after.id);
  }
  const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
  return {
    sql: `SELECT ${COLUMN_LIST} FROM uploads ${where} ORDER BY "createdAtMs" DESC, "id" DESC LIMIT ?`,
    values,
  };
}

/** `rows` has one row more than the page when there is a next page. */
function toPage(rows: UploadRow[], limit: number): UploadPage {
  const items = rows.slice(0, limit).map(toRecord);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? encodeCursor(last) : undefined };
}

function toTotals(rows: TotalsRow[]): CatalogTotals {
  const byState = Object.fromEntries(UPLOAD_STATES.map((state) => [state, 0])) as Record<UploadState, number>;
  const totals: CatalogTotals = { byState, receivedBytes: 0, requests: 0, resumes: 0 };
  for (const row of rows) {
    byState[row.state] = row.uploads;
    totals.receivedBytes += row.receivedBytes;
    totals.requests += row.requests;
    totals.resumes += row.resumes;
  }
  return totals;
}
