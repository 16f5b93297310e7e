/**
 * `atMs`: not before this time, while `waiting`; since when, otherwise. Jobs of a kind are taken by `atMs`, then in
 * the order of their rows. `again…`: added once more while it was running; null: not.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE jobs (
    "id" TEXT NOT NULL UNIQUE,
    "kind" TEXT NOT NULL,
    "state" TEXT NOT NULL CHECK ("state" IN ('waiting', 'active', 'givenUp')),
    "atMs" INTEGER NOT NULL,
    "data" TEXT NOT NULL,
    "attempts" INTEGER NOT NULL,
    "reason" TEXT,
    "againData" TEXT,
    "againAtMs" INTEGER
  ) STRICT;
  CREATE INDEX jobs_due ON jobs ("kind", "state", "atMs");
  `,
];

export interface JobRow {
  id: string;
  data: string;
  /** Started so often, this time included. */
  attempts: number;
  reason: string | null;
}
