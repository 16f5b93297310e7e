import { readFileSync } from 'node:fs';
import { type Clock, systemClock } from '../clock.ts';
import { loadScript } from '../redis/script.ts';
import type { RedisArgument, RedisCommands } from '../redis/types.ts';
import { checkPageLimit, decodeCursor, encodeCursor } from './cursor.ts';
import { COLUMNS, FIXED, toRecord, type UploadRow } from './schema.ts';
import type { UploadCatalog, UploadCounters, UploadPatch, UploadRecord, UploadState } from './types.ts';
import { PARTIALS_OWNER_SUFFIX, UPLOAD_STATES } from './types.ts';

/*
 * The catalog of many processes, in Redis. Under `{<prefix>-catalog}`: `:upload:<id>`, a hash per record;
 * `:all`, `:state:<state>`, `:group:<group>` and `:state:<state>:group:<group>`, sorted sets that list them;
 * `:open:<owner>`, what counts against an owner's limit; `:totals`, sums over all records; `:claim:<name>`, who does
 * what just now. Only claims expire: a record goes when it is removed.
 *
 * All of it lies in one hash slot, so in a Cluster on one node. Every change is one script, which sees the record and
 * its indexes and moves them together; a crash leaves nothing half done and nothing to repair. Spread over slots,
 * records and indexes would drift apart with every crash between two writes. The price is that a Cluster's other
 * nodes do not help the catalog; one node does about ten thousand of these scripts a second and holds a million
 * records in 2 GB. (Locks and part lists, which are on the path of every request, do spread over the Cluster.)
 *
 * The store is the truth. If Redis loses the catalog, or the last seconds of it, comparing it with the store puts it
 * right.
 */

export interface RedisCatalogOptions {
  redis: RedisCommands;
  /** What every key begins with. */
  prefix?: string;
  clock?: Clock;
}

const NUMBERS = new Set<keyof UploadRecord>([
  'size',
  'offset',
  'createdAtMs',
  'updatedAtMs',
  'firstByteAtMs',
  'receivedAtMs',
  'expiresAtMs',
  'receivedBytes',
  'requests',
  'resumes',
  'receivingMs',
]);
const IS_NUMBER = COLUMNS.map((column) => NUMBERS.has(column));

/** Every method rejects with store_unavailable when Redis cannot be reached. */
export function createRedisCatalog(options: RedisCatalogOptions): UploadCatalog {
  const { redis, prefix = 'landfall', clock = systemClock } = options;
  const base = `{${prefix}-catalog}`;
  const prelude = `local COLUMNS = {${COLUMNS.map((column) => `'${column}'`).join(', ')}}
local PARTIALS_OWNER_SUFFIX = '${PARTIALS_OWNER_SUFFIX}'
${readFileSync(new URL('./redis-indexes.lua', import.meta.url), 'utf8')}`;
  const scripts = {
    create: loadScript(new URL('./redis-create.lua', import.meta.url), prelude),
    change: loadScript(new URL('./redis-change.lua', import.meta.url), prelude),
    remove: loadScript(new URL('./redis-remove.lua', import.meta.url), prelude),
    list: loadScript(new URL('./redis-list.lua', import.meta.url), prelude),
    totals: loadScript(new URL('./redis-totals.lua', import.meta.url), prelude),
  };
  const recordKey = (id: string): string => `${base}:upload:${id}`;

  function change(id: string, from: readonly UploadState[], changes: Changes): Promise<unknown> {
    const { set, clear, add } = changes;
    const args = [base, from.join(), set.length, clear.length, ...set, ...clear, ...add];
    return redis.run(scripts.change, [recordKey(id)], args);
  }

  /** `maxOpen`: 0 for no limit. Undefined when the owner has no room. */
  async function create(record: UploadRecord, maxOpen: number): Promise<UploadRecord | undefined> {
    const fields = COLUMNS.flatMap((column) => {
      const value = record[column];
      return value === null ? [] : [column, value];
    });
    const reply = await redis.run(scripts.create, [recordKey(record.id)], [base, maxOpen, ...fields]);
    if (reply === 'full') return undefined;
    return reply === null ? { ...record } : parseRecord(reply);
  }

  return {
    async create(record) {
      return (await create(record, 0)) ?? { ...record };
    },

    createWithin: create,

    async get(id) {
      const reply = await redis.send('HMGET', recordKey(id), ...COLUMNS);
      return Array.isArray(reply) && reply[0] !== null ? parseRecord(reply) : undefined;
    },

    async list({ state, group }, { limit, cursor }) {
      checkPageLimit(limit);
      const parts = [
        ...(state === undefined ? [] : [`state:${state}`]),
        ...(group === undefined ? [] : [`group:${group}`]),
      ];
      const index = `${base}:${parts.length === 0 ? 'all' : parts.join(':')}`;
      const start = cursor === undefined ? '+' : `(${indexMember(decodeCursor(cursor))}`;
      // One more than asked for tells whether there is a next page.
      const reply = await redis.run(scripts.list, [index], [base, start, limit + 1]);
      const records = (reply as unknown[]).map(parseRecord);
      const items = records.slice(0, limit);
      const last = items.at(-1);
      const hasMore = records.length > limit && last !== undefined;
      return { items, nextCursor: hasMore ? encodeCursor(last) : undefined };
    },

    async transition(id, from, to, patch = {}, add = {}) {
      const states = typeof from === 'string' ? [from] : from;
      if (states.length === 0) return undefined;
      const changes = changesOf(patch, add, clock.now());
      changes.set.push('state', to);
      const reply = await change(id, states, changes);
      return reply === null ? undefined : parseRecord(reply);
    },

    async update(id, patch, add = {}) {
      await change(id, [], changesOf(patch, add, clock.now()));
    },

    async remove(id) {
      await redis.run(scripts.remove, [recordKey(id)], [base]);
    },

    async totals() {
      const keys = [`${base}:totals`, ...UPLOAD_STATES.map((state) => `${base}:state:${state}`)];
      const reply = (await redis.run(scripts.totals, keys, [base])) as (string | number | null)[];
      const [receivedBytes = 0, requests = 0, resumes = 0, ...counts] = reply.map(Number);
      const byState = Object.fromEntries(UPLOAD_STATES.map((state, index) => [state, counts[index] ?? 0]));
      return { byState: byState as Record<UploadState, number>, receivedBytes, requests, resumes };
    },

    async claim(name, forMs) {
      return (await redis.send('SET', `${base}:claim:${name}`, clock.now(), 'NX', 'PX', forMs)) === 'OK';
    },

    async extendClaim(name, forMs) {
      if (forMs <= 0) await redis.send('DEL', `${base}:claim:${name}`);
      else await redis.send('SET', `${base}:claim:${name}`, clock.now(), 'PX', forMs);
    },

    /** What was accepted is in Redis already, and outlives this process. */
    async flush() {},

    /** Writes for real: a full, read-only or half-connected Redis answers a PING as well. */
    async check() {
      await redis.send('SET', `${base}:check`, clock.now(), 'PX', 60_000);
    },

    /** The connection is not ours to close. */
    async close() {},
  };
}

interface Changes {
  set: RedisArgument[];
  clear: string[];
  add: RedisArgument[];
}

function changesOf(patch: UploadPatch, add: UploadCounters, nowMs: number): Changes {
  const changes: Changes = { set: [], clear: [], add: [] };
  for (const [field, value] of Object.entries({ ...patch, updatedAtMs: patch.updatedAtMs ?? nowMs })) {
    if (value === undefined || FIXED.has(field)) continue;
    if (value === null) changes.clear.push(field);
    else changes.set.push(field, value);
  }
  for (const [field, value] of Object.entries(add)) {
    if (value !== undefined) changes.add.push(field, value);
  }
  return changes;
}

/** From the values of `COLUMNS`, which Redis keeps as text. */
function parseRecord(values: unknown): UploadRecord {
  const row = (values as (string | null)[]).map((value, index) =>
    value !== null && IS_NUMBER[index] ? Number(value) : value,
  );
  return toRecord(row as unknown as UploadRow);
}

/** As the scripts write it. */
function indexMember({ createdAtMs, id }: { createdAtMs: number; id: string }): string {
  return `${String(createdAtMs).padStart(16, '0')}:${id}`;
}
