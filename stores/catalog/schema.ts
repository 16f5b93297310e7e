import type { UploadPatch, UploadRecord, UploadState } from './types.ts';

/** Columns are named like the record's fields: a row is a record. */
export const COLUMNS = [
  'id',
  'state',
  'size',
  'offset',
  'rawMetadata',
  'group',
  'filename',
  'contentType',
  'createdAtMs',
  'updatedAtMs',
  'firstByteAtMs',
  'receivedAtMs',
  'expiresAtMs',
  'receivedBytes',
  'requests',
  'resumes',
  'receivingMs',
  'declaredSha256',
  'sha256',
  'reasonCode',
  'reason',
  'owner',
  'media',
] as const satisfies readonly (keyof UploadRecord)[];

/** `group` and `offset` are words of SQL. */
export function quote(column: string): string {
  return `"${column}"`;
}

export const COLUMN_LIST = COLUMNS.map(quote).join();

/** The values of `COLUMNS`. The table is STRICT, so that a row's types need no further look. */
export type UploadRow = ValuesOf<typeof COLUMNS>;
type ValuesOf<Names extends readonly (keyof UploadRecord)[]> = {
  [Index in keyof Names]: UploadRecord[Names[Index]];
};

/** Written out, because a literal is built many times faster than a record from a list of names. */
export function toRecord(row: UploadRow): UploadRecord {
  return {
    id: row[0],
    state: row[1],
    size: row[2],
    offset: row[3],
    rawMetadata: row[4],
    group: row[5],
    filename: row[6],
    contentType: row[7],
    createdAtMs: row[8],
    updatedAtMs: row[9],
    firstByteAtMs: row[10],
    receivedAtMs: row[11],
    expiresAtMs: row[12],
    receivedBytes: row[13],
    requests: row[14],
    resumes: row[15],
    receivingMs: row[16],
    declaredSha256: row[17],
    sha256: row[18],
    reasonCode: row[19],
    reason: row[20],
    owner: row[21],
    media: row[22],
  };
}

export interface TotalsRow {
  state: UploadState;
  uploads: number;
  receivedBytes: number;
  requests: number;
  resumes: number;
}

/** Never changed by a patch, whatever its type says. */
export const FIXED = new Set<string>(['id', 'state', 'createdAtMs', 'owner']);

/** What a patch may name, in one order, so that patches of the same shape share a statement. */
export const PATCH_COLUMNS = COLUMNS.filter((column): column is keyof UploadPatch => !FIXED.has(column));

/**
 * Step n brings a database from version n to n + 1 (`user_version`). Steps are never edited once released.
 *
 * STRICT: a number bound as a double is stored as an integer when it is one (all of ours are below 2^53), and a
 * wrong type is an error at once. `totals` has a row for every state, kept by triggers inside the same
 * transaction: asking for totals stays cheap however many uploads there are.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE uploads (
    "id" TEXT NOT NULL UNIQUE,
    "state" TEXT NOT NULL,
    "size" INTEGER,
    "offset" INTEGER NOT NULL,
    "rawMetadata" TEXT,
    "group" TEXT,
    "filename" TEXT,
    "contentType" TEXT,
    "createdAtMs" INTEGER NOT NULL,
    "updatedAtMs" INTEGER NOT NULL,
    "firstByteAtMs" INTEGER,
    "receivedAtMs" INTEGER,
    "expiresAtMs" INTEGER,
    "receivedBytes" INTEGER NOT NULL,
    "requests" INTEGER NOT NULL,
    "resumes" INTEGER NOT NULL,
    "receivingMs" INTEGER NOT NULL,
    "declaredSha256" TEXT,
    "sha256" TEXT,
    "reasonCode" TEXT,
    "reason" TEXT
  ) STRICT;
  CREATE INDEX uploads_by_time ON uploads ("createdAtMs", "id");
  CREATE INDEX uploads_by_state ON uploads ("state", "createdAtMs", "id");
  CREATE INDEX uploads_by_group ON uploads ("group", "createdAtMs", "id") WHERE "group" IS NOT NULL;

  CREATE TABLE totals (
    "state" TEXT PRIMARY KEY,
    "uploads" INTEGER NOT NULL,
    "receivedBytes" INTEGER NOT NULL,
    "requests" INTEGER NOT NULL,
    "resumes" INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER totals_insert AFTER INSERT ON uploads BEGIN
    INSERT INTO totals VALUES (NEW."state", 1, NEW."receivedBytes", NEW."requests", NEW."resumes")
      ON CONFLICT DO UPDATE SET "uploads" = "uploads" + 1, "receivedBytes" = "receivedBytes" + NEW."receivedBytes",
        "requests" = "requests" + NEW."requests", "resumes" = "resumes" + NEW."resumes";
  END;
  CREATE TRIGGER totals_delete AFTER DELETE ON uploads BEGIN
    UPDATE totals SET "uploads" = "uploads" - 1, "receivedBytes" = "receivedBytes" - OLD."receivedBytes",
      "requests" = "requests" - OLD."requests", "resumes" = "resumes" - OLD."resumes" WHERE "state" = OLD."state";
  END;
  CREATE TRIGGER totals_update AFTER UPDATE OF "state", "receivedBytes", "requests", "resumes" ON uploads BEGIN
    UPDATE totals SET "uploads" = "uploads" - 1, "receivedBytes" = "receivedBytes" - OLD."receivedBytes",
      "requests" = "requests" - OLD."requests", "resumes" = "resumes" - OLD."resumes" WHERE "state" = OLD."state";
    INSERT INTO totals VALUES (NEW."state", 1, NEW."receivedBytes", NEW."requests", NEW."resumes")
      ON CONFLICT DO UPDATE SET "uploads" = "uploads" + 1, "receivedBytes" = "receivedBytes" + NEW."receivedBytes",
        "requests" = "requests" + NEW."requests", "resumes" = "resumes" + NEW."resumes";
  END;
  `,
  // Only uploads that count against somebody's limit are in the index.
  `
  ALTER TABLE uploads ADD COLUMN "owner" TEXT;
  CREATE INDEX uploads_open_by_owner ON uploads ("owner") WHERE "state" = 'receiving' AND "owner" IS NOT NULL;
  `,
  'ALTER TABLE uploads ADD COLUMN "media" TEXT;',
];
