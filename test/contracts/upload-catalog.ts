import { afterEach, describe, expect, test } from 'vitest';
import type { UploadCatalog, UploadFilter, UploadRecord } from '../../stores/catalog/types.ts';
import { newUploadRecord, PARTIALS_OWNER_SUFFIX, UPLOAD_STATES } from '../../stores/catalog/types.ts';

/** One empty backend with catalogs on it, made anew for every test. */
export interface UploadCatalogHarness {
  /** A catalog over the harness' backend. With `isShared`, a second call stands for a second process. */
  openCatalog(): Promise<UploadCatalog> | UploadCatalog;
  /** Closes every catalog that was opened and whatever else the harness started. */
  teardown(): Promise<void>;
}

export interface UploadCatalogTraits {
  /** Several catalogs may be open on one backend at once, and see each other's changes. */
  isShared: boolean;
}

const CREATED_AT_MS = 1_750_000_000_000;
const FIVE_TIB = 5 * 2 ** 40;

/** What every `UploadCatalog` has to keep. */
export function uploadCatalogContract(
  name: string,
  makeHarness: () => Promise<UploadCatalogHarness> | UploadCatalogHarness,
  traits: UploadCatalogTraits,
): void {
  describe(`upload catalog contract: ${name}`, { timeout: 30_000 }, () => {
    const harnesses: UploadCatalogHarness[] = [];

    afterEach(async () => {
      for (const harness of harnesses.splice(0)) await harness.teardown();
    });

    async function openCatalog(): Promise<UploadCatalog> {
      const harness = await makeHarness();
      harnesses.push(harness);
      return harness.openCatalog();
    }

    test('a record comes back field for field', async () => {
      const catalog = await openCatalog();
      const full = fullRecord('full');
      expect(await catalog.create(full)).toEqual(full);
      expect(await catalog.get('full')).toEqual(full);
      const bare = record('bare', { size: null });
      expect(await catalog.create(bare)).toEqual(bare);
      expect(await catalog.get('bare')).toEqual(bare);
      const empty = record('empty', { size: 0, rawMetadata: '', group: '', filename: '' });
      await catalog.create(empty);
      expect(await catalog.get('empty')).toEqual(empty);
    });

    test('text of any kind survives', async () => {
      const catalog = await openCatalog();
      const filenames = [
        'ü😀 日本.png',
        `O'Brien"; DROP TABLE uploads; --`,
        'a\0b\r\n\tc',
        '%_\\',
        'null',
        '12',
        '{}',
      ];
      for (const [index, filename] of filenames.entries()) {
        const added = record(`id${index}`, { filename, group: filename });
        await catalog.create(added);
        expect(await catalog.get(added.id)).toEqual(added);
        expect(await idsOf(catalog, { group: filename })).toEqual([added.id]);
      }
    });

    test('a claim is got once, until it ends or is given back', async () => {
      const catalog = await openCatalog();
      expect(await catalog.claim('sweep', 60_000)).toBe(true);
      expect(await catalog.claim('sweep', 60_000)).toBe(false);
      expect(await catalog.claim('other', 60_000)).toBe(true);
      await catalog.extendClaim('sweep', 0);
      expect(await catalog.claim('sweep', 60_000)).toBe(true);
      await catalog.extendClaim('sweep', 30);
      await expect.poll(() => catalog.claim('sweep', 60_000), { interval: 10 }).toBe(true);
    });

    test('a record that is already there wins', async () => {
      const catalog = await openCatalog();
      const first = fullRecord('upload');
      await catalog.create(first);
      expect(await catalog.create(record('upload', { filename: 'second' }))).toEqual(first);
      expect(await catalog.get('upload')).toEqual(first);
    });

    test('unknown ids are undefined, also those that name object members', async () => {
      const catalog = await openCatalog();
      for (const id of ['unknown', '__proto__', 'constructor', 'toString']) {
        expect(await catalog.get(id)).toBeUndefined();
        expect(await catalog.transition(id, 'receiving', 'received')).toBeUndefined();
        await catalog.update(id, { offset: 5 }, { requests: 1 });
        expect(await catalog.get(id)).toBeUndefined();
        await catalog.remove(id);
        await catalog.create(record(id));
        expect((await catalog.get(id))?.id).toBe(id);
      }
    });

    test('what a caller does to a record does not change the catalog', async () => {
      const catalog = await openCatalog();
      const given = record('upload');
      const returned = await catalog.create(given);
      given.offset = 1;
      returned.offset = 2;
      const read = await catalog.get('upload');
      expect(read?.offset).toBe(0);
      if (read !== undefined) read.offset = 3;
      expect((await catalog.get('upload'))?.offset).toBe(0);
    });

    test('a transition compares the state, applies the patch and returns the record', async () => {
      const catalog = await openCatalog();
      const before = fullRecord('upload');
      await catalog.create(before);
      const patch = {
        offset: FIVE_TIB,
        receivedAtMs: CREATED_AT_MS + 9,
        expiresAtMs: null,
        updatedAtMs: CREATED_AT_MS + 9,
      };
      const after = await catalog.transition('upload', 'receiving', 'received', patch);
      expect(after).toEqual({ ...before, ...patch, state: 'received' });
      expect(await catalog.get('upload')).toEqual(after);

      expect(await catalog.transition('upload', 'receiving', 'aborted', { offset: 1 })).toBeUndefined();
      expect(await catalog.transition('upload', [], 'aborted', { offset: 1 })).toBeUndefined();
      expect(await catalog.get('upload')).toEqual(after);

      const processing = await catalog.transition('upload', ['receiving', 'received'], 'processing');
      expect(processing?.state).toBe('processing');
      // The same state again is a transition like any other: it holds when the state is one of `from`.
      expect((await catalog.transition('upload', 'processing', 'processing'))?.state).toBe('processing');
    });

    test('a transition adds to counters, and a lost one does not', async () => {
      const catalog = await openCatalog();
      await catalog.create(record('upload', { receivedBytes: 10, requests: 1 }));
      const add = { receivedBytes: 5, requests: 1, receivingMs: 7 };
      const moved = await catalog.transition('upload', 'receiving', 'ready', { offset: 15 }, add);
      expect(moved).toMatchObject({
        state: 'ready',
        offset: 15,
        receivedBytes: 15,
        requests: 2,
        receivingMs: 7,
      });
      expect(await catalog.transition('upload', 'receiving', 'ready', {}, add)).toBeUndefined();
      expect(await catalog.get('upload')).toEqual(moved);
      expect(await catalog.totals()).toMatchObject({ receivedBytes: 15, requests: 2 });
    });

    test('every state can be entered and compared', async () => {
      const catalog = await openCatalog();
      await catalog.create(record('upload'));
      let from: (typeof UPLOAD_STATES)[number] = 'receiving';
      for (const to of UPLOAD_STATES) {
        expect((await catalog.transition('upload', from, to))?.state).toBe(to);
        from = to;
      }
    });

    test('of many transitions at once exactly one wins', async () => {
      const catalog = await openCatalog();
      await catalog.create(record('upload'));
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          catalog.transition('upload', 'receiving', 'received', { reason: `attempt ${index}` }),
        ),
      );
      const winners = outcomes.filter((outcome) => outcome !== undefined);
      expect(winners).toHaveLength(1);
      expect((await catalog.get('upload'))?.reason).toBe(winners[0]?.reason);
    });

    test('an update changes what it names and nothing else', async () => {
      const catalog = await openCatalog();
      const before = fullRecord('upload');
      await catalog.create(before);
      const patch = {
        size: 7,
        offset: 7,
        firstByteAtMs: null,
        group: 'other',
        updatedAtMs: CREATED_AT_MS + 5,
      };
      await catalog.update('upload', patch);
      expect(await catalog.get('upload')).toEqual({ ...before, ...patch });
      await catalog.update('upload', {});
      expect(await catalog.get('upload')).toMatchObject({
        ...before,
        ...patch,
        updatedAtMs: expect.any(Number),
      });
    });

    test('a change moves updatedAtMs to now unless the patch says otherwise', async () => {
      const catalog = await openCatalog();
      await catalog.create(record('upload'));
      await catalog.update('upload', { offset: 1 });
      const updated = (await catalog.get('upload'))?.updatedAtMs ?? 0;
      expect(updated).toBeGreaterThan(CREATED_AT_MS);
      await catalog.update('upload', { updatedAtMs: CREATED_AT_MS + 1 });
      const moved = await catalog.transition('upload', 'receiving', 'received');
      expect(moved?.updatedAtMs).toBeGreaterThanOrEqual(updated);
    });

    test('counters add up, however many add at once', async () => {
      const catalog = await openCatalog();
      await catalog.create(record('upload', { receivedBytes: 10, requests: 1, resumes: 2, receivingMs: 3 }));
      await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          catalog.update('upload', index === 7 ? { offset: 7 } : {}, {
            receivedBytes: FIVE_TIB / 1024,
            requests: 1,
            resumes: index % 2,
            receivingMs: 4,
          }),
        ),
      );
      expect(await catalog.get('upload')).toMatchObject({
        offset: 7,
        receivedBytes: 10 + (50 * FIVE_TIB) / 1024,
        requests: 51,
        resumes: 27,
        receivingMs: 203,
      });
    });

    test('a removed record is nowhere any more, and its id can be used again', async () => {
      const catalog = await openCatalog();
      await catalog.create(record('upload', { group: 'g', receivedBytes: 5 }));
      await catalog.create(record('other', { group: 'g' }));
      await catalog.remove('upload');
      await catalog.remove('upload');
      expect(await catalog.get('upload')).toBeUndefined();
      expect(await idsOf(catalog)).toEqual(['other']);
      expect(await idsOf(catalog, { group: 'g', state: 'receiving' })).toEqual(['other']);
      expect(await catalog.totals()).toMatchObject({ receivedBytes: 0, byState: { receiving: 1 } });
      await catalog.create(record('upload', { filename: 'again' }));
      expect((await catalog.get('upload'))?.filename).toBe('again');
    });

    test('a list is newest first, then by id, descending', async () => {
      const catalog = await openCatalog();
      const ids = ['b', 'B', '-', '_', '0', 'aa', 'a'];
      for (const id of ids) await catalog.create(record(id));
      await catalog.create(record('oldest', { createdAtMs: CREATED_AT_MS - 1 }));
      await catalog.create(record('newest', { createdAtMs: CREATED_AT_MS + 1 }));
      expect(await idsOf(catalog)).toEqual(['newest', 'b', 'aa', 'a', '_', 'B', '0', '-', 'oldest']);
    });

    test('an empty catalog lists one empty last page', async () => {
      const catalog = await openCatalog();
      expect(await catalog.list({}, { limit: 10 })).toEqual({ items: [], nextCursor: undefined });
    });

    test('pages join to the whole list, for every filter and page size', async () => {
      const catalog = await openCatalog();
      const records: UploadRecord[] = [];
      for (let index = 0; index < 40; index++) {
        const added = record(`id${index}`, {
          createdAtMs: CREATED_AT_MS + Math.floor(index / 3),
          group: index % 4 === 0 ? null : `group ${index % 2}`,
          state: index % 5 === 0 ? 'ready' : 'receiving',
        });
        records.push(await catalog.create(added));
      }
      const filters: UploadFilter[] = [
        {},
        { state: 'ready' },
        { group: 'group 1' },
        { state: 'receiving', group: 'group 0' },
        { state: 'failed' },
        { group: 'no such group' },
        { state: undefined, group: undefined },
      ];
      for (const filter of filters) {
        const expected = records
          .filter(({ state }) => filter.state === undefined || state === filter.state)
          .filter(({ group }) => filter.group === undefined || group === filter.group)
          .sort((a, b) => b.createdAtMs - a.createdAtMs || (a.id < b.id ? 1 : -1));
        for (const limit of [1, 3, 7, 1000]) {
          expect(await pagesOf(catalog, filter, limit)).toEqual(expected);
        }
        // A list that ends exactly at a page's end has no further page.
        if (expected.length > 0) {
          const exact = await catalog.list(filter, { limit: expected.length });
          expect(exact.nextCursor).toBeUndefined();
        }
      }
    });

    test('pages neither repeat nor miss what stays, while others come and go', async () => {
      const catalog = await openCatalog();
      for (let index = 0; index < 10; index++) {
        await catalog.create(record(`id${index}`, { createdAtMs: CREATED_AT_MS + index }));
      }
      const first = await catalog.list({}, { limit: 4 });
      expect(first.items.map(({ id }) => id)).toEqual(['id9', 'id8', 'id7', 'id6']);
      await catalog.create(record('newer', { createdAtMs: CREATED_AT_MS + 100 }));
      await catalog.remove('id6'); // the record at which the next page starts
      await catalog.remove('id4');
      const second = await catalog.list({}, { limit: 4, cursor: first.nextCursor });
      expect(second.items.map(({ id }) => id)).toEqual(['id5', 'id3', 'id2', 'id1']);
      const third = await catalog.list({}, { limit: 4, cursor: second.nextCursor });
      expect(third.items.map(({ id }) => id)).toEqual(['id0']);
      expect(third.nextCursor).toBeUndefined();
    });

    test('filters follow changes of state and group', async () => {
      const catalog = await openCatalog();
      await catalog.create(record('upload', { group: 'old' }));
      await catalog.transition('upload', 'receiving', 'received', { group: 'new' });
      expect(await idsOf(catalog, { state: 'receiving' })).toEqual([]);
      expect(await idsOf(catalog, { group: 'old' })).toEqual([]);
      expect(await idsOf(catalog, { state: 'received', group: 'new' })).toEqual(['upload']);
      await catalog.update('upload', { group: null });
      expect(await idsOf(catalog, { group: 'new' })).toEqual([]);
      expect(await idsOf(catalog, { state: 'received' })).toEqual(['upload']);
    });

    test('a cursor that was not made here, or an impossible page size, is a RangeError', async () => {
      const catalog = await openCatalog();
      for (let index = 0; index < 3; index++) await catalog.create(record(`id${index}`));
      const { nextCursor } = await catalog.list({}, { limit: 1 });
      expect(nextCursor).toMatch(/^[A-Za-z0-9_-]+$/);
      const foreign = ['', 'x', '!!', '../..', 'bnVsbA', 'W10', 'e30', `${nextCursor}=`, `${nextCursor}A`];
      for (const cursor of foreign) {
        await expect(catalog.list({}, { limit: 1, cursor }), `cursor ${cursor}`).rejects.toThrow(RangeError);
      }
      for (const limit of [0, -1, 1.5, 1001, Number.NaN]) {
        await expect(catalog.list({}, { limit }), `limit ${limit}`).rejects.toThrow(RangeError);
      }
    });

    test('an owner has room for so many uploads that are receiving, and no more', async () => {
      const catalog = await openCatalog();
      const first = record('a', { owner: 'one' });
      expect(await catalog.createWithin(first, 2)).toEqual(first);
      expect(await catalog.get('a')).toEqual(first);
      await catalog.create(record('b', { owner: 'one' }));
      expect(await catalog.createWithin(record('c', { owner: 'one' }), 2)).toBeUndefined();
      expect(await catalog.get('c')).toBeUndefined();
      expect(await idsOf(catalog)).toEqual(['b', 'a']);
      expect(await catalog.totals()).toMatchObject({ byState: { receiving: 2 } });
      // One that is there already is found, not added.
      expect(await catalog.createWithin(record('a', { owner: 'one' }), 2)).toEqual(first);
      // Others, and nobody's, are not counted.
      expect(await catalog.createWithin(record('d', { owner: 'two' }), 2)).toBeDefined();
      expect(await catalog.createWithin(record('e', { owner: null }), 1)).toBeDefined();
      expect(await catalog.createWithin(record('f', { owner: null }), 1)).toBeDefined();
    });

    test('what is finished, aborted or removed makes room; what is received again takes it', async () => {
      const catalog = await openCatalog();
      const tryCreate = async (id: string) =>
        (await catalog.createWithin(record(id, { owner: 'o', group: 'g' }), 1)) !== undefined;
      expect([await tryCreate('a'), await tryCreate('b')]).toEqual([true, false]);
      await catalog.update('a', { offset: 50, group: 'h' });
      expect(await tryCreate('b')).toBe(false);
      await catalog.transition('a', 'receiving', 'ready');
      expect([await tryCreate('b'), await tryCreate('c')]).toEqual([true, false]);
      await catalog.remove('b');
      expect([await tryCreate('c'), await tryCreate('d')]).toEqual([true, false]);
      await catalog.transition('c', 'receiving', 'aborted');
      await catalog.transition('a', 'ready', 'receiving');
      expect(await tryCreate('d')).toBe(false);
    });

    test('all partial uploads of an owner count as one', async () => {
      const catalog = await openCatalog();
      const tryCreate = async (id: string, owner: string) =>
        (await catalog.createWithin(record(id, { owner }), 2)) !== undefined;
      for (const id of ['p1', 'p2', 'p3'])
        expect(await tryCreate(id, `o${PARTIALS_OWNER_SUFFIX}`)).toBe(true);
      expect([await tryCreate('a', 'o'), await tryCreate('b', 'o')]).toEqual([true, false]);
      expect(await tryCreate('p4', `o${PARTIALS_OWNER_SUFFIX}`)).toBe(true);
      for (const id of ['p1', 'p2', 'p3']) await catalog.transition(id, 'receiving', 'ready');
      expect(await tryCreate('b', 'o')).toBe(false);
      await catalog.transition('p4', 'receiving', 'ready');
      expect(await tryCreate('b', 'o')).toBe(true);
      expect(await tryCreate('p5', `o${PARTIALS_OWNER_SUFFIX}`)).toBe(false);
    });

    test('of many creations at once exactly as many find room as there is', async () => {
      const catalog = await openCatalog();
      const outcomes = await Promise.all(
        Array.from({ length: 30 }, (_, index) =>
          catalog.createWithin(record(`id${index}`, { owner: 'o' }), 7),
        ),
      );
      expect(outcomes.filter((outcome) => outcome !== undefined)).toHaveLength(7);
      expect(await idsOf(catalog, { state: 'receiving' })).toHaveLength(7);
    });

    test('totals count every state and sum the counters', async () => {
      const catalog = await openCatalog();
      const none = Object.fromEntries(UPLOAD_STATES.map((state) => [state, 0]));
      expect(await catalog.totals()).toEqual({ byState: none, receivedBytes: 0, requests: 0, resumes: 0 });
      await catalog.create(record('a', { receivedBytes: FIVE_TIB, requests: 2 }));
      await catalog.create(record('b', { receivedBytes: FIVE_TIB, resumes: 1 }));
      await catalog.create(record('c', { state: 'ready' }));
      await catalog.update('c', {}, { requests: 3, resumes: 4, receivedBytes: 5 });
      await catalog.transition('b', 'receiving', 'received');
      expect(await catalog.totals()).toEqual({
        byState: { ...none, receiving: 1, received: 1, ready: 1 },
        receivedBytes: 2 * FIVE_TIB + 5,
        requests: 5,
        resumes: 5,
      });
    });

    test('check and flush resolve on a healthy catalog', async () => {
      const catalog = await openCatalog();
      await catalog.check();
      await catalog.create(record('upload'));
      await catalog.flush();
      await catalog.flush();
      await catalog.check();
    });

    if (traits.isShared) {
      test('two catalogs on one backend are one catalog', async () => {
        const harness = await makeHarness();
        harnesses.push(harness);
        const one = await harness.openCatalog();
        const other = await harness.openCatalog();
        await one.create(record('upload'));
        expect(await other.create(record('upload', { filename: 'second' }))).toEqual(await one.get('upload'));
        const outcomes = await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            (index % 2 === 0 ? one : other).transition('upload', 'receiving', 'received'),
          ),
        );
        expect(outcomes.filter((outcome) => outcome !== undefined)).toHaveLength(1);
        await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            (index % 2 === 0 ? one : other).update('upload', {}, { requests: 1 }),
          ),
        );
        expect((await other.get('upload'))?.requests).toBe(20);
        await other.create(record('second'));
        const first = await one.list({}, { limit: 1 });
        const rest = await other.list({}, { limit: 1, cursor: first.nextCursor });
        expect([...first.items, ...rest.items].map(({ id }) => id)).toEqual(['upload', 'second']);
        expect(await other.totals()).toEqual(await one.totals());
        const racing = await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            (index % 2 === 0 ? one : other).createWithin(record(`racing${index}`, { owner: 'o' }), 3),
          ),
        );
        expect(racing.filter((outcome) => outcome !== undefined)).toHaveLength(3);
        await other.remove('upload');
        expect(await one.get('upload')).toBeUndefined();
      });
    }
  });
}

function record(id: string, fields: Partial<UploadRecord> = {}): UploadRecord {
  return newUploadRecord({ id, size: 100, rawMetadata: null, createdAtMs: CREATED_AT_MS, ...fields });
}

/** A record in which every field has a value of its own. */
function fullRecord(id: string): UploadRecord {
  return record(id, {
    size: FIVE_TIB,
    offset: FIVE_TIB - 1,
    rawMetadata: 'filename w7wucG5n,constructor,__proto__ eA==',
    group: 'holiday',
    filename: 'ü.png',
    contentType: 'image/png',
    updatedAtMs: CREATED_AT_MS + 1,
    firstByteAtMs: CREATED_AT_MS + 2,
    receivedAtMs: CREATED_AT_MS + 3,
    expiresAtMs: CREATED_AT_MS + 4,
    receivedBytes: FIVE_TIB + 12_345,
    requests: 5,
    resumes: 6,
    receivingMs: 7,
    declaredSha256: 'a'.repeat(64),
    sha256: 'b'.repeat(64),
    reasonCode: 'checksum_mismatch',
    reason: 'The bytes are not the ones that were declared.',
    owner: 'a2V5',
  });
}

async function idsOf(catalog: UploadCatalog, filter: UploadFilter = {}): Promise<string[]> {
  const { items } = await catalog.list(filter, { limit: 1000 });
  return items.map(({ id }) => id);
}

async function pagesOf(catalog: UploadCatalog, filter: UploadFilter, limit: number): Promise<UploadRecord[]> {
  const items: UploadRecord[] = [];
  let cursor: string | undefined;
  do {
    const page = await catalog.list(filter, { limit, cursor });
    expect(page.items.length).toBeLessThanOrEqual(limit);
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return items;
}
