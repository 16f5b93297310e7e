import { type Clock, systemClock } from '../clock.ts';
import type { StoreError } from '../errors.ts';
import {
  openDatabaseFile,
  openOrRecreate,
  type RecreatedEvent,
  translateSqliteError,
} from '../sqlite/database-file.ts';
import { createGroupCommit } from '../sqlite/group-commit.ts';
import { createEventListeners } from './listeners.ts';
import { KEEP_EVENTS, KEEP_EVENTS_MS } from './retention.ts';
import type { EventLog, UploadEvent } from './types.ts';

/*
 * The log of one process, in one SQLite file (`path`, and beside it `-wal` and `-shm` while it is open): a row per
 * event, the last 10,000 of the last day. Listeners hear of an event at once; its row is committed together with
 * others, up to 50 ms later, which makes it cost microseconds. A crash takes the rows of those milliseconds with it.
 *
 * An id is `<epoch>-<number>`, and every opening of the file begins an epoch: whoever heard of an event that a crash
 * then took away, comes back with an id that is not in the log, and is told so. The file is an index of what
 * happened, and nobody's truth: a damaged one is moved away, and a new one begun.
 */

export interface SqliteEventLogOptions {
  path: string;
  clock?: Clock;
  /** Told of every failed commit, with the number of writes that are lost by it (0: it is tried again). */
  onCommitFailed?: (error: StoreError, lostWrites: number) => void;
  /** Told when a damaged file was moved to `damagedPath` and an empty one took its place. */
  onRecreated?: (event: RecreatedEvent) => void;
}

const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE events (
    "number" INTEGER PRIMARY KEY,
    "epoch" INTEGER NOT NULL,
    "type" TEXT NOT NULL,
    "uploadId" TEXT NOT NULL,
    "atMs" INTEGER NOT NULL,
    "data" TEXT NOT NULL
  ) STRICT;
  CREATE INDEX events_by_upload ON events ("uploadId");
  `,
];

/** Rows are trimmed so many at a time. */
const TRIM_EVERY = 100;

interface EventRow {
  number: number;
  epoch: number;
  type: UploadEvent['type'];
  uploadId: string;
  atMs: number;
  data: string;
}

/** Opens or creates the log at `path`. Throws store_unavailable or storage_full when that cannot be done. */
export function openSqliteEventLog(options: SqliteEventLogOptions): EventLog {
  const { path, clock = systemClock, onCommitFailed, onRecreated } = options;
  const db = openOrRecreate({ path, clock, onRecreated }, () =>
    openDatabaseFile({ path, migrations: MIGRATIONS }),
  );
  const transaction = createGroupCommit({ db, path, clock, onCommitFailed });
  const listeners = createEventListeners();
  const insert = db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)');
  const selectLast = db.prepare('SELECT "number", "epoch" FROM events ORDER BY "number" DESC LIMIT 1');
  const selectEpoch = db.prepare('SELECT "epoch" FROM events WHERE "number" = ?');
  const selectAfter = db.prepare('SELECT * FROM events WHERE "number" > ? ORDER BY "number"');
  const selectOfUpload = db.prepare(
    'SELECT * FROM events WHERE "number" > ? AND "uploadId" = ? ORDER BY "number"',
  );
  const trimCount = db.prepare('DELETE FROM events WHERE "number" <= ?');
  const trimAge = db.prepare(
    // Walks from the oldest on, and stops at the first that is young enough: numbers grow with time.
    'DELETE FROM events WHERE "number" < (SELECT "number" FROM events WHERE "atMs" >= ? ORDER BY "number" LIMIT 1)',
  );

  function read<T>(query: () => T): T {
    try {
      return query();
    } catch (error) {
      throw translateSqliteError(error, path);
    }
  }

  const newest = read(() => selectLast.get()) as unknown as Pick<EventRow, 'number' | 'epoch'> | undefined;
  let lastNumber = newest?.number ?? 0;
  let lastId = newest === undefined ? undefined : idOf(newest);
  const epoch = Math.max(clock.now(), (newest?.epoch ?? 0) + 1);

  /** Undefined: not in the log. */
  function numberOf(id: string): number | undefined {
    const [, ofEpoch, number] = /^(\d{1,15})-(\d{1,15})$/.exec(id) ?? [];
    if (number === undefined) return undefined;
    transaction.settle();
    const row = read(() => selectEpoch.get(Number(number)));
    return row?.epoch === Number(ofEpoch) ? Number(number) : undefined;
  }

  function trim(): void {
    const lastToGo = lastNumber - KEEP_EVENTS;
    transaction.defer(() => {
      trimCount.run(lastToGo);
      trimAge.run(clock.now() - KEEP_EVENTS_MS);
    });
  }

  return {
    async publish(event) {
      const { type, uploadId, atMs, data } = event;
      if (type === 'progress') {
        listeners.tell({ id: lastId ?? '', ...event });
        return;
      }
      if (lastNumber % TRIM_EVERY === 0) trim();
      const number = lastNumber + 1;
      const text = JSON.stringify(data);
      transaction.defer(() => insert.run(number, epoch, type, uploadId, atMs, text));
      lastNumber = number;
      lastId = idOf({ epoch, number });
      listeners.tell({ id: lastId, ...event });
    },

    async subscribe({ uploadId }, afterId, listener) {
      const afterNumber = afterId === undefined ? undefined : numberOf(afterId);
      const subscription = {
        isReset: afterId !== undefined && afterNumber === undefined,
        lastId,
        close: () => {},
      };
      if (afterNumber !== undefined) {
        const rows = read(() =>
          uploadId === undefined ? selectAfter.all(afterNumber) : selectOfUpload.all(afterNumber, uploadId),
        );
        try {
          for (const row of rows as unknown as EventRow[]) listener(toEvent(row));
        } catch {
          return subscription;
        }
      }
      subscription.close = listeners.add({ uploadId }, listener);
      return subscription;
    },

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

function idOf({ epoch, number }: Pick<EventRow, 'epoch' | 'number'>): string {
  return `${epoch}-${number}`;
}

function toEvent({ number, epoch, type, uploadId, atMs, data }: EventRow): UploadEvent {
  return { id: idOf({ epoch, number }), type, uploadId, atMs, data: JSON.parse(data) as UploadEvent['data'] };
}
