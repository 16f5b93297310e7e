import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../clock.ts';
import type { StoreError } from '../errors.ts';
import { translateSqliteError } from '../sqlite/database-file.ts';
import { createGroupCommit } from '../sqlite/group-commit.ts';
import { type Outcome, reasonOf } from './attempt.ts';
import { KEEP_GIVEN_UP_JOBS, KEEP_GIVEN_UP_MS } from './job-rules.ts';
import type { JobRow } from './sqlite-schema.ts';
import type { JobCounts } from './types.ts';

/** The table of jobs. Every change runs at once, and is durable when `committed` resolves. */
export interface SqliteJobs {
  add(job: { id: string; kind: string; data: string; atMs: number; unlessRunning: boolean }): boolean;
  /** Starts the next job that is due, except for those of `running`. */
  take(kind: string): JobRow | undefined;
  /** Writes down how a started job ended. */
  settle(id: string, kind: string, outcome: Outcome): void;
  remove(id: string): boolean;
  counts(kind: string): JobCounts;
  /** When the next job is due; undefined: none waits. */
  nextAtMs(kind: string): number | undefined;
  /** Lets every started job wait again, except for those that run. */
  restart(running: ReadonlySet<string>): void;
  /** Resolves when everything up to now would survive the end of this process. Calls of one turn share a commit. */
  committed(): Promise<void>;
  /** Writes for real: a full disk or a file gone read-only shows here. */
  check(): Promise<void>;
  /** Commits what is pending. */
  flush(): void;
}

export interface SqliteJobsOptions {
  db: DatabaseSync;
  path: string;
  clock: Clock;
  onCommitFailed?: ((error: StoreError, lostWrites: number) => void) | undefined;
}

/** Looking for old jobs reads all those that were given up. */
const FORGET_EVERY = 100;

/** What was added while the job ran replaces what it ran with. */
const CLEAR_AGAIN = '"againData" = NULL, "againAtMs" = NULL';
const NEWEST_DATA = `"data" = coalesce("againData", "data"), ${CLEAR_AGAIN}`;

export function createSqliteJobs({ db, path, clock, onCommitFailed }: SqliteJobsOptions): SqliteJobs {
  const transaction = createGroupCommit({ db, path, clock, onCommitFailed });
  const insert = db.prepare(
    `INSERT INTO jobs ("id", "kind", "state", "atMs", "data", "attempts") VALUES (?, ?, 'waiting', ?, ?, 0)
     ON CONFLICT ("id") DO NOTHING`,
  );
  const addAgain = db.prepare(
    `UPDATE jobs SET "againData" = ?, "againAtMs" = ? WHERE "id" = ? AND "state" = 'active' AND "againData" IS NULL`,
  );
  const selectDue = db.prepare(
    `SELECT "id", "data", "attempts", "reason" FROM jobs
     WHERE "kind" = ? AND "state" = 'waiting' AND "atMs" <= ? ORDER BY "atMs", rowid LIMIT 1`,
  );
  const start = db.prepare(
    `UPDATE jobs SET "state" = 'active', "atMs" = ?, "attempts" = "attempts" + 1 WHERE "id" = ?`,
  );
  const runAgain = db.prepare(
    `UPDATE jobs SET "state" = 'waiting', "atMs" = "againAtMs", "attempts" = 0, "reason" = NULL, ${NEWEST_DATA}
     WHERE "id" = ? AND "againData" IS NOT NULL`,
  );
  const remove = db.prepare('DELETE FROM jobs WHERE "id" = ?');
  const removeIdle = db.prepare(`DELETE FROM jobs WHERE "id" = ? AND "state" <> 'active'`);
  const wait = db.prepare(
    `UPDATE jobs SET "state" = 'waiting', "atMs" = ?, "reason" = ?, ${NEWEST_DATA} WHERE "id" = ?`,
  );
  const giveBack = db.prepare(
    `UPDATE jobs SET "state" = 'waiting', "attempts" = "attempts" - 1, ${NEWEST_DATA} WHERE "id" = ?`,
  );
  const giveUp = db.prepare(`UPDATE jobs SET "state" = 'givenUp', "atMs" = ?, "reason" = ? WHERE "id" = ?`);
  const forgetOld = db.prepare(
    `DELETE FROM jobs WHERE "kind" = ?1 AND "state" = 'givenUp' AND ("atMs" < ?2 OR "atMs" <= (
       SELECT "atMs" FROM jobs WHERE "kind" = ?1 AND "state" = 'givenUp' ORDER BY "atMs" DESC LIMIT 1 OFFSET ?3))`,
  );
  const selectActive = db.prepare(`SELECT "id" FROM jobs WHERE "state" = 'active'`);
  const selectNext = db.prepare(
    `SELECT min("atMs") AS "atMs" FROM jobs WHERE "kind" = ? AND "state" = 'waiting'`,
  );
  const selectCounts = db.prepare(
    `SELECT "state" = 'waiting' AND "atMs" > ?2 AS "isDelayed", "state", count(*) AS "jobs" FROM jobs
     WHERE "kind" = ?1 GROUP BY 1, 2`,
  );

  function read<T>(query: () => T): T {
    try {
      return query();
    } catch (error) {
      throw translateSqliteError(error, path);
    }
  }

  const changes = (write: () => { changes: number | bigint }): boolean =>
    Number(transaction.write(write).changes) > 0;

  let givenUpJobs = 0;
  function settle(id: string, kind: string, outcome: Outcome): void {
    const nowMs = clock.now();
    switch (outcome.end) {
      case 'done':
        if (!changes(() => runAgain.run(id))) changes(() => remove.run(id));
        return;
      case 'retry':
        changes(() => wait.run(nowMs + outcome.delayMs, reasonOf(outcome.error), id));
        return;
      case 'interrupted':
        changes(() => giveBack.run(id));
        return;
      case 'givenUp':
        if (changes(() => runAgain.run(id))) return;
        changes(() => giveUp.run(nowMs, reasonOf(outcome.error), id));
        if (givenUpJobs++ % FORGET_EVERY === 0) {
          changes(() => forgetOld.run(kind, nowMs - KEEP_GIVEN_UP_MS, KEEP_GIVEN_UP_JOBS));
        }
    }
  }

  let committing: Promise<void> | undefined;
  function committed(): Promise<void> {
    committing ??= new Promise((resolve, reject) => {
      setImmediate(() => {
        committing = undefined;
        try {
          transaction.flush();
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
    return committing;
  }

  return {
    add: ({ id, kind, data, atMs, unlessRunning }) =>
      changes(() => insert.run(id, kind, atMs, data)) ||
      (!unlessRunning && changes(() => addAgain.run(data, atMs, id))),

    take(kind) {
      const nowMs = clock.now();
      const row = read(() => selectDue.get(kind, nowMs)) as unknown as JobRow | undefined;
      if (row === undefined) return undefined;
      changes(() => start.run(nowMs, row.id));
      return { ...row, attempts: row.attempts + 1 };
    },

    settle,
    remove: (id) => changes(() => removeIdle.run(id)),

    counts(kind) {
      const counts: JobCounts = { waiting: 0, delayed: 0, active: 0, givenUp: 0 };
      for (const row of read(() => selectCounts.all(kind, clock.now()))) {
        counts[row.isDelayed ? 'delayed' : (row.state as keyof JobCounts)] += Number(row.jobs);
      }
      return counts;
    },

    nextAtMs(kind) {
      const atMs = read(() => selectNext.get(kind))?.atMs;
      return typeof atMs === 'number' ? atMs : undefined;
    },

    restart(running) {
      for (const { id } of read(() => selectActive.all())) {
        if (!running.has(String(id))) changes(() => wait.run(clock.now(), null, String(id)));
      }
    },

    committed,

    async check() {
      const version = read(() => Number(db.prepare('PRAGMA user_version').get()?.user_version));
      transaction.write(() => db.prepare(`PRAGMA user_version = ${version}`).run());
      transaction.flush();
    },

    flush: () => transaction.flush(),
  };
}
