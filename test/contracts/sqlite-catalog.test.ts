import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MIGRATIONS } from '../../stores/catalog/schema.ts';
import {
  openOrRecreateSqliteCatalog,
  openSqliteCatalog,
  type SqliteCatalogOptions,
} from '../../stores/catalog/sqlite.ts';
import { newUploadRecord, type UploadCatalog } from '../../stores/catalog/types.ts';
import type { Clock } from '../../stores/clock.ts';
import type { StoreError } from '../../stores/errors.ts';
import { migrate } from '../../stores/sqlite/database-file.ts';
import { createGroupCommit } from '../../stores/sqlite/group-commit.ts';
import { uploadCatalogContract } from './upload-catalog.ts';

async function harness(open: (path: string) => UploadCatalog) {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-catalog-'));
  const opened: UploadCatalog[] = [];
  return {
    openCatalog() {
      const catalog = open(join(directory, 'catalog.sqlite'));
      opened.push(catalog);
      return catalog;
    },
    async teardown() {
      for (const catalog of opened) await catalog.close();
      await rm(directory, { recursive: true });
    },
  };
}

uploadCatalogContract('sqlite', () => harness((path) => openSqliteCatalog({ path })), { isShared: false });

// A new record is in memory up to the next commit, and everything else is done with it in another way there.
uploadCatalogContract('sqlite, with every record written at once', () => harness(openWritingAtOnce), {
  isShared: false,
});

function openWritingAtOnce(path: string): UploadCatalog {
  const catalog = openSqliteCatalog({ path });
  return {
    ...catalog,
    async create(record) {
      const created = await catalog.create(record);
      await catalog.flush();
      return created;
    },
    async createWithin(record, maxOpen) {
      const created = await catalog.createWithin(record, maxOpen);
      await catalog.flush();
      return created;
    },
  };
}

const WRITER = fileURLToPath(new URL('../support/catalog-writer.ts', import.meta.url));

let directory: string;
let path: string;
const opened: UploadCatalog[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-catalog-'));
  path = join(directory, 'catalog.sqlite');
});

afterEach(async () => {
  for (const catalog of opened.splice(0)) await catalog.close();
  await rm(directory, { recursive: true });
});

function openCatalog(options: Partial<SqliteCatalogOptions> = {}): UploadCatalog {
  const catalog = openSqliteCatalog({ path, ...options });
  opened.push(catalog);
  return catalog;
}

function record(id: string) {
  return newUploadRecord({ id, size: 5, rawMetadata: null, createdAtMs: 1_750_000_000_000 });
}

/** What a second connection sees: only what is committed. */
function committedIds(): unknown[] {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return db
      .prepare('SELECT "id" FROM uploads ORDER BY "id"')
      .all()
      .map((row) => row.id);
  } finally {
    db.close();
  }
}

/** A sound, closed database of many pages. */
async function fillAndClose(): Promise<void> {
  const catalog = openCatalog();
  for (let index = 0; index < 500; index++) await catalog.create(record(`upload-${index}`));
  await catalog.close();
}

/** Runs the writer under `sh`, after `prelude`. */
async function runWriter(prelude: string, mode: 'die' | 'fill') {
  const command = `${prelude} exec "$0" "$@"`;
  const child = spawn('sh', ['-c', command, process.execPath, WRITER, path, mode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  const [exitCode, signal] = await once(child, 'close');
  return { exitCode, signal, output };
}

describe('what outlives the process', () => {
  test('records, totals and order survive closing and opening again', async () => {
    const first = openCatalog();
    await first.create({ ...record('a'), filename: 'ü.png', receivedBytes: 5 * 2 ** 40 });
    await first.create(record('b'));
    await first.transition('b', 'receiving', 'received');
    const before = [await first.get('a'), await first.get('b'), await first.totals()];
    await first.close();
    await first.close();
    const second = openCatalog();
    expect([await second.get('a'), await second.get('b'), await second.totals()]).toEqual(before);
    expect(await readdir(directory)).toContain('catalog.sqlite');
  });

  test('a killed process loses at most what was not committed yet', async () => {
    expect(await runWriter('', 'die')).toMatchObject({ signal: 'SIGKILL' });
    expect((await stat(`${path}-wal`)).size).toBeGreaterThan(0);
    const catalog = openCatalog();
    expect((await catalog.get('flushed'))?.size).toBe(5);
    await catalog.check();
    expect((await catalog.totals()).byState.receiving).toBe(1);
  });

  test('a closed catalog answers with store_unavailable', async () => {
    const catalog = openCatalog();
    await catalog.close();
    const unavailable = { code: 'store_unavailable' };
    await expect(catalog.get('a')).rejects.toMatchObject(unavailable);
    await expect(catalog.create(record('a'))).rejects.toMatchObject(unavailable);
    await expect(catalog.list({}, { limit: 1 })).rejects.toMatchObject(unavailable);
    await expect(catalog.check()).rejects.toMatchObject(unavailable);
  });
});

describe('group commit', () => {
  test('writes are seen at once here, and elsewhere after flush', async () => {
    const catalog = openCatalog();
    await catalog.create(record('a'));
    expect((await catalog.list({}, { limit: 5 })).items).toHaveLength(1);
    expect(committedIds()).toEqual([]);
    await catalog.flush();
    expect(committedIds()).toEqual(['a']);
  });

  test('writes are committed by themselves soon, and by close', async () => {
    const catalog = openCatalog();
    await catalog.create(record('a'));
    await sleep(10);
    await catalog.create(record('b'));
    const startedAt = performance.now();
    while (committedIds().length < 2) {
      expect(performance.now() - startedAt).toBeLessThan(5_000);
      await sleep(5);
    }
    await catalog.create(record('c'));
    await catalog.close();
    expect(committedIds()).toEqual(['a', 'b', 'c']);
  });

  test('many writes do not wait for the timer', async () => {
    const never: Clock = { now: () => 0, setTimer: () => () => {} };
    const catalog = openCatalog({ clock: never });
    for (let index = 0; index < 450; index++) await catalog.create(record(`upload-${index}`));
    expect(committedIds()).toHaveLength(400);
  });

  test('a disk that is full is told, loses only what was not committed, and heals', async () => {
    // In units of 512 bytes (POSIX): the log may have 128 KiB.
    const { output } = await runWriter('ulimit -f 256;', 'fill');
    const told = JSON.parse(output);
    expect(['storage_full', 'store_unavailable']).toContain(told.flush);
    expect(told).toEqual({
      failures: [{ code: told.flush, lostWrites: 40 }],
      flush: told.flush,
      check: 'ok',
      checks: ['ok', 'ok'],
      hasLost: true,
      hasFlushed: true,
    });
    expect(committedIds()).toEqual(['flushed', 'small']);
  });

  test('a commit that finds the database locked is tried again and loses nothing', () => {
    const db = new DatabaseSync(path);
    db.exec('CREATE TABLE t (n INTEGER)');
    const busy = Object.assign(new Error('database is locked'), { errcode: 5 });
    const prepare = db.prepare.bind(db);
    let isLocked = true;
    db.prepare = (sql: string) => {
      const statement = prepare(sql);
      const run = statement.run.bind(statement);
      statement.run = () => {
        if (sql === 'COMMIT' && isLocked) throw busy;
        return run();
      };
      return statement;
    };
    const timers: (() => void)[] = [];
    const failures: [StoreError, number][] = [];
    const transaction = createGroupCommit({
      db,
      path,
      clock: {
        now: () => 0,
        setTimer(callback) {
          timers.push(callback);
          return () => {};
        },
      },
      onCommitFailed: (...failure) => failures.push(failure),
    });
    transaction.write(() => db.exec('INSERT INTO t VALUES (1)'));
    timers.shift()?.();
    expect(failures).toMatchObject([[{ code: 'store_unavailable', cause: busy }, 0]]);
    isLocked = false;
    timers.shift()?.();
    expect(db.isTransaction).toBe(false);
    transaction.flush();
    transaction.write(() => db.exec('INSERT INTO t VALUES (2)'));
    transaction.flush();
    expect(db.prepare('SELECT count(*) AS n FROM t').get()).toMatchObject({ n: 2 });
    db.close();
  });

  test('a write that another connection keeps out says so and leaves the catalog well', async () => {
    const catalog = openCatalog();
    await catalog.create(record('a'));
    await catalog.flush();
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    const unavailable = { code: 'store_unavailable', retryable: true };
    await expect(catalog.update('a', { offset: 1 })).rejects.toMatchObject(unavailable);
    expect((await catalog.get('a'))?.offset).toBe(0);
    other.exec('COMMIT');
    other.close();
    await catalog.update('a', { offset: 2 });
    await catalog.check();
    expect((await catalog.get('a'))?.offset).toBe(2);
  });

  test('new records wait for another connection, and are not lost', async () => {
    const failures: [string, number][] = [];
    const catalog = openCatalog({
      onCommitFailed: ({ code }, lostWrites) => failures.push([code, lostWrites]),
    });
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    await catalog.create(record('a'));
    expect((await catalog.transition('a', 'receiving', 'ready', { offset: 5 }))?.state).toBe('ready');
    await expect(catalog.flush()).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(catalog.list({}, { limit: 1 })).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(failures[0]).toEqual(['store_unavailable', 0]);
    expect(await catalog.get('a')).toMatchObject({ state: 'ready', offset: 5 });
    other.exec('COMMIT');
    other.close();
    await catalog.flush();
    expect(committedIds()).toEqual(['a']);
    expect((await catalog.list({ state: 'ready' }, { limit: 1 })).items).toMatchObject([
      { id: 'a', offset: 5 },
    ]);
    expect((await catalog.totals()).byState).toMatchObject({ ready: 1, receiving: 0 });
  });

  test('a new record that is removed before the commit was never there', async () => {
    const catalog = openCatalog();
    await catalog.create(record('a'));
    await catalog.remove('a');
    expect(await catalog.get('a')).toBeUndefined();
    await catalog.create({ ...record('a'), filename: 'again' });
    await catalog.flush();
    expect((await catalog.list({}, { limit: 5 })).items).toMatchObject([{ id: 'a', filename: 'again' }]);
  });
});

describe('damage', () => {
  const damages: [string, () => Promise<void>][] = [
    ['text instead of a database', () => writeFile(path, 'this is no database at all\n'.repeat(500))],
    [
      'a torn end',
      async () => {
        await fillAndClose();
        await truncate(path, 20_000);
      },
    ],
    [
      'overwritten pages',
      async () => {
        await fillAndClose();
        const file = await open(path, 'r+');
        await file.write(Buffer.alloc(16_384, 0xa5), 0, 16_384, 8_192);
        await file.close();
      },
    ],
  ];

  test.each(damages)('%s: opening names the file and changes nothing', async (_, damage) => {
    await damage();
    const before = await readFile(path);
    expect(() => openSqliteCatalog({ path })).toThrow(
      expect.objectContaining({ code: 'upload_damaged', message: expect.stringContaining(path) }),
    );
    expect((await readFile(path)).equals(before)).toBe(true);
  });

  test.each(damages)('%s: moved away, and a new catalog in its place', async (_, damage) => {
    await damage();
    const before = await readFile(path);
    const events: { damagedPath: string; error: StoreError }[] = [];
    const catalog = openOrRecreateSqliteCatalog({
      path,
      clock: { now: () => Date.UTC(2026, 1, 3, 4, 5, 6, 7), setTimer: () => () => {} },
      onRecreated: (event) => events.push(event),
    });
    opened.push(catalog);
    const damagedPath = `${path}.damaged-2026-02-03T04-05-06.007Z`;
    expect(events).toMatchObject([{ damagedPath, error: { code: 'upload_damaged' } }]);
    expect((await readFile(damagedPath)).equals(before)).toBe(true);
    await catalog.create(record('a'));
    await catalog.flush();
    expect(committedIds()).toEqual(['a']);
  });

  test('a sound catalog is not recreated', async () => {
    await fillAndClose();
    const catalog = openOrRecreateSqliteCatalog({
      path,
      onRecreated: () => expect.unreachable('it is sound'),
    });
    opened.push(catalog);
    expect((await catalog.totals()).byState.receiving).toBe(500);
  });

  test('what is not damaged but cannot be opened is an error, and stays where it is', () => {
    expect(() => openOrRecreateSqliteCatalog({ path: directory })).toThrow(
      expect.objectContaining({ code: 'store_unavailable', message: expect.stringContaining(directory) }),
    );
  });

  test('a deleted database starts anew, whatever was left beside it', async () => {
    await runWriter('', 'die');
    await rm(path);
    const catalog = openCatalog();
    expect(await catalog.get('flushed')).toBeUndefined();
    await catalog.create(record('a'));
    await catalog.check();
  });
});

describe('schema versions', () => {
  test('a newer database is refused, clearly, and not moved away', async () => {
    await fillAndClose();
    const db = new DatabaseSync(path);
    db.exec(`PRAGMA user_version = ${MIGRATIONS.length + 7}`);
    db.close();
    expect(() => openOrRecreateSqliteCatalog({ path })).toThrow(
      expect.objectContaining({
        code: 'store_unavailable',
        retryable: false,
        message: expect.stringContaining(
          `newer version (schema ${MIGRATIONS.length + 7}; this one knows ${MIGRATIONS.length})`,
        ),
      }),
    );
    expect(committedIds()).toHaveLength(500);
  });

  test('each step runs once, in order, and a failing one leaves the version before it', async () => {
    await fillAndClose();
    const db = new DatabaseSync(path);
    const version = () => db.prepare('PRAGMA user_version').get()?.user_version;
    const second = 'ALTER TABLE uploads ADD COLUMN "note" TEXT; UPDATE uploads SET "note" = "id";';
    const broken = 'CREATE TABLE half (n); SELECT * FROM no_such_table;';
    expect(() => migrate(db, path, [...MIGRATIONS, second, broken])).toThrow('no_such_table');
    expect(version()).toBe(MIGRATIONS.length + 1);
    expect(db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'half'").get()).toMatchObject({
      n: 0,
    });
    migrate(db, path, [...MIGRATIONS, second, 'CREATE TABLE whole (n);']);
    expect(version()).toBe(MIGRATIONS.length + 2);
    expect(db.prepare('SELECT "note" FROM uploads WHERE "id" = ?').get('upload-7')).toMatchObject({
      note: 'upload-7',
    });
    db.close();
  });
});

describe('a catalog of version 1', () => {
  test('keeps its records, which belong to nobody', async () => {
    const old = new DatabaseSync(path);
    migrate(old, path, MIGRATIONS.slice(0, 1));
    old.exec(`INSERT INTO uploads ("id", "state", "offset", "createdAtMs", "updatedAtMs", "receivedBytes", "requests",
      "resumes", "receivingMs") VALUES ('old', 'receiving', 3, 1, 2, 3, 1, 0, 9)`);
    old.close();
    const catalog = openCatalog();
    expect(await catalog.get('old')).toMatchObject({ id: 'old', state: 'receiving', offset: 3, owner: null });
    expect(await catalog.createWithin({ ...record('new'), owner: 'o' }, 1)).toBeDefined();
    expect(await catalog.createWithin({ ...record('newer'), owner: 'o' }, 1)).toBeUndefined();
    expect(await catalog.totals()).toMatchObject({ byState: { receiving: 2 }, receivedBytes: 3 });
  });
});

describe('cost', () => {
  test('counting the open uploads of an owner takes an index that holds nothing else', async () => {
    await fillAndClose();
    const db = new DatabaseSync(path);
    const plan = db
      .prepare(`EXPLAIN QUERY PLAN SELECT count(*) FROM uploads WHERE "owner" = ? AND "state" = 'receiving'`)
      .all()
      .map((row) => row.detail)
      .join('; ');
    db.close();
    expect(plan).toMatch(/^SEARCH uploads USING (?:COVERING )?INDEX uploads_open_by_owner [^;]*$/);
  });

  test('pages of a list come from an index, without a sort', async () => {
    await fillAndClose();
    const db = new DatabaseSync(path);
    const plan = (where: string): string =>
      db
        .prepare(
          `EXPLAIN QUERY PLAN SELECT * FROM uploads ${where} ORDER BY "createdAtMs" DESC, "id" DESC LIMIT 10`,
        )
        .all()
        .map((row) => row.detail)
        .join('; ');
    const after = '("createdAtMs", "id") < (5, \'x\')';
    expect(plan(`WHERE ${after}`)).toMatch(/^SEARCH uploads USING INDEX uploads_by_time [^;]*$/);
    expect(plan(`WHERE "state" = 'ready' AND ${after}`)).toMatch(
      /^SEARCH uploads USING INDEX uploads_by_state [^;]*$/,
    );
    expect(plan(`WHERE "group" = 'g' AND ${after}`)).toMatch(
      /^SEARCH uploads USING INDEX uploads_by_group [^;]*$/,
    );
    expect(plan(`WHERE "group" = 'g' AND +"state" = 'ready'`)).toMatch(
      /^SEARCH uploads USING INDEX uploads_by_group [^;]*$/,
    );
    db.close();
  });
});
