import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../stores/clock.ts';
import { openSqliteEventLog, type SqliteEventLogOptions } from '../../stores/events/sqlite.ts';
import type { EventLog } from '../../stores/events/types.ts';
import type { RecreatedEvent } from '../../stores/sqlite/database-file.ts';
import { eventLogContract } from './event-log.ts';

eventLogContract(
  'sqlite',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'landfall-events-'));
    const opened: EventLog[] = [];
    return {
      async openLog() {
        const log = openSqliteEventLog({ path: join(directory, 'events.db') });
        opened.push(log);
        return log;
      },
      async teardown() {
        for (const log of opened) await log.close();
        await rm(directory, { recursive: true });
      },
    };
  },
  { isShared: false },
);

describe('events in SQLite', () => {
  let directory: string;
  let path: string;
  const opened: EventLog[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'landfall-events-'));
    path = join(directory, 'events.db');
  });

  afterEach(async () => {
    for (const log of opened.splice(0)) await log.close();
    await rm(directory, { recursive: true });
  });

  function openLog(more: Partial<SqliteEventLogOptions> = {}): EventLog {
    const log = openSqliteEventLog({ path, ...more });
    opened.push(log);
    return log;
  }

  async function publish(log: EventLog, uploadId: string): Promise<string> {
    const ids: string[] = [];
    const subscription = await log.subscribe({ uploadId }, undefined, ({ id }) => void ids.push(id));
    await log.publish({ type: 'created', uploadId, atMs: 1_750_000_000_000, data: {} });
    subscription.close();
    return ids[0] as string;
  }

  test('an event that was told and then lost by a crash is known to be lost, whatever comes after it', async () => {
    const before = openLog();
    const kept = await publish(before, 'kept');
    const lost = await publish(before, 'lost');
    await before.close();
    const db = new DatabaseSync(path);
    db.exec(`DELETE FROM events WHERE "uploadId" = 'lost'`);
    db.close();
    const after = openLog();
    for (let number = 0; number < 3; number++) await publish(after, `later${number}`);
    expect((await after.subscribe({}, lost, () => {})).isReset).toBe(true);
    const heard: string[] = [];
    const subscription = await after.subscribe({}, kept, ({ uploadId }) => void heard.push(uploadId));
    expect(subscription.isReset).toBe(false);
    expect(heard).toEqual(['later0', 'later1', 'later2']);
  });

  test('events are kept for a day', async () => {
    let nowMs = 1_750_000_000_000;
    const log = openLog({ clock: { now: () => nowMs, setTimer: systemClock.setTimer } });
    const publishNow = (uploadId: string) =>
      log.publish({ type: 'created', uploadId, atMs: nowMs, data: {} });
    const old = await publish(log, 'old');
    nowMs += 24 * 3600_000 + 1;
    for (let number = 0; number < 110; number++) await publishNow(`upload${number}`);
    expect((await log.subscribe({}, old, () => {})).isReset).toBe(true);
    const { lastId } = await log.subscribe({}, undefined, () => {});
    expect((await log.subscribe({}, lastId, () => {})).isReset).toBe(false);
  });

  test('a damaged file is moved away and a new one begun', async () => {
    await writeFile(path, Buffer.alloc(8192, 'this is no database '));
    const events: RecreatedEvent[] = [];
    await publish(openLog({ onRecreated: (event) => events.push(event) }), 'a');
    expect(events).toMatchObject([{ error: { code: 'upload_damaged' } }]);
    expect(await readFile(events[0]?.damagedPath ?? '', 'utf8')).toContain('this is no database');
  });

  test('while the file cannot be written, listeners hear what happens, and it is kept afterwards', async () => {
    const told: [string, number][] = [];
    const log = openLog({ onCommitFailed: ({ code }, lostWrites) => told.push([code, lostWrites]) });
    const heard: string[] = [];
    const ids: string[] = [];
    await log.subscribe({}, undefined, ({ id, uploadId }) => {
      heard.push(uploadId);
      ids.push(id);
    });
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    const event = { type: 'created', uploadId: 'a', atMs: 1, data: {} } as const;
    for (const uploadId of ['a', 'b', 'c']) await log.publish({ ...event, uploadId });
    expect(heard).toEqual(['a', 'b', 'c']);
    while (told.length === 0) await sleep(5);
    expect(told).toEqual([['store_unavailable', 0]]);
    other.exec('ROLLBACK');
    other.close();
    const again: string[] = [];
    await log.subscribe({}, ids[0], ({ uploadId }) => void again.push(uploadId));
    expect(again).toEqual(['b', 'c']);
  });
});
