import { afterEach, describe, expect, test } from 'vitest';
import type { EventFilter, EventLog, NewUploadEvent, UploadEvent } from '../../stores/events/types.ts';
import { until } from '../support/redis.ts';

/** One empty backend with logs on it, made anew for every test. */
export interface EventLogHarness {
  /** A log over the harness' backend. With `isShared`, a second call stands for a second process. */
  openLog(): Promise<EventLog>;
  /** Closes every log that was opened and whatever else the harness started. */
  teardown(): Promise<void>;
}

export interface EventLogTraits {
  /** Several processes may use one backend at once. */
  isShared: boolean;
}

/** What every `EventLog` has to keep. */
export function eventLogContract(
  name: string,
  makeHarness: () => Promise<EventLogHarness>,
  { isShared }: EventLogTraits,
): void {
  describe(`event log contract: ${name}`, { timeout: 30_000 }, () => {
    const harnesses: EventLogHarness[] = [];

    afterEach(async () => {
      for (const harness of harnesses.splice(0)) await harness.teardown();
    });

    async function newHarness(): Promise<EventLogHarness> {
      const harness = await makeHarness();
      harnesses.push(harness);
      return harness;
    }

    const openLog = async (): Promise<EventLog> => (await newHarness()).openLog();

    test('listeners hear of events as they happen, with ids that grow', async () => {
      const log = await openLog();
      const { events, subscription } = await listen(log);
      expect(subscription).toMatchObject({ isReset: false, lastId: undefined });
      const first = event('created', 'a', { size: 5, name: 'ü😀 "\n' });
      const second = event('ready', 'b', { previews: [{ width: 1, nested: { deep: null } }] });
      await log.publish(first);
      await log.publish(second);
      await until(() => events.length === 2);
      expect(events.map(withoutId)).toEqual([first, second]);
      expect(events[0]?.id).not.toBe(events[1]?.id);
      const later = await listen(log);
      expect(later.subscription.lastId).toBe(events[1]?.id);
      expect(later.events).toEqual([]);
    });

    test('a listener of one upload hears of that one only, and of nothing once it closed', async () => {
      const log = await openLog();
      const ofA = await listen(log, { uploadId: 'a' });
      const ofAll = await listen(log);
      const alsoOfA = await listen(log, { uploadId: 'a' });
      await log.publish(event('created', 'a'));
      await log.publish(event('created', 'b'));
      await until(() => ofAll.events.length === 2);
      expect(ofA.events.map(({ uploadId }) => uploadId)).toEqual(['a']);
      ofA.subscription.close();
      ofA.subscription.close();
      await log.publish(event('ready', 'a'));
      await until(() => ofAll.events.length === 3);
      expect(ofA.events).toHaveLength(1);
      expect(alsoOfA.events).toHaveLength(2);
    });

    test('whoever comes back hears what happened since, then what happens', async () => {
      const log = await openLog();
      const { events } = await listen(log);
      for (const id of ['a', 'b', 'a', 'b']) await log.publish(event('received', id));
      await until(() => events.length === 4);
      const afterSecond = await listen(log, {}, events[1]?.id);
      expect(afterSecond.subscription).toMatchObject({ isReset: false, lastId: events[3]?.id });
      const ofBAfterFirst = await listen(log, { uploadId: 'b' }, events[0]?.id);
      const afterLast = await listen(log, {}, events[3]?.id);
      await log.publish(event('ready', 'b'));
      await until(() => [afterSecond, ofBAfterFirst, afterLast].every((each) => each.events.length > 0));
      await until(() => events.length === 5);
      expect(afterSecond.events).toEqual(events.slice(2));
      expect(ofBAfterFirst.events).toEqual([events[1], events[3], events[4]]);
      expect(afterLast.events).toEqual(events.slice(4));
    });

    test('an id that is not in the log is a reset, and only new events follow', async () => {
      const log = await openLog();
      const { events } = await listen(log);
      await log.publish(event('created', 'a'));
      await until(() => events.length === 1);
      const known = events[0]?.id as string;
      const unknown = [
        '',
        'none',
        '-',
        '0-0',
        '1-1',
        `${known}0`,
        `1${known}`,
        '99999999999999-0',
        'ä',
        `${known}\n`,
      ];
      const late = await Promise.all(unknown.map((id) => listen(log, {}, id)));
      for (const { subscription } of late)
        expect(subscription).toMatchObject({ isReset: true, lastId: known });
      await log.publish(event('created', 'b'));
      await until(() => late.every((each) => each.events.length === 1));
      for (const each of late) expect(each.events[0]?.uploadId).toBe('b');
    });

    test('progress is told to who listens, and kept nowhere', async () => {
      const log = await openLog();
      const { events } = await listen(log, { uploadId: 'a' });
      await log.publish(event('created', 'a'));
      await log.publish(event('progress', 'a', { offset: 1 }));
      await log.publish(event('progress', 'b', { offset: 7 }));
      await log.publish(event('progress', 'a', { offset: 2 }));
      await log.publish(event('received', 'a'));
      await until(() => events.length === 4);
      expect(events.map(({ type, data }) => [type, data.offset])).toEqual([
        ['created', undefined],
        ['progress', 1],
        ['progress', 2],
        ['received', undefined],
      ]);
      // Whoever comes back with the id of a progress event misses nothing that is kept.
      const again = await listen(log, { uploadId: 'a' }, events[2]?.id);
      expect(again.subscription.isReset).toBe(false);
      expect(again.events).toEqual([events[3]]);
    });

    test('a listener that throws is dropped, the others are not', async () => {
      const log = await openLog();
      let heard = 0;
      await log.subscribe({}, undefined, () => {
        heard += 1;
        throw new Error('no');
      });
      const { events } = await listen(log);
      await log.publish(event('created', 'a'));
      await log.publish(event('ready', 'a'));
      await until(() => events.length === 2);
      expect(heard).toBe(1);
      await log.subscribe({}, events[0]?.id, () => {
        heard += 1;
        throw new Error('no');
      });
      await log.publish(event('failed', 'b'));
      await until(() => events.length === 3);
      expect(heard).toBe(2);
    });

    test('there is no gap between what is replayed and what is new', async () => {
      const log = await openLog();
      const { events } = await listen(log);
      await log.publish(event('created', 'start'));
      await until(() => events.length === 1);
      const start = events[0]?.id;
      const total = 300;
      const late: Awaited<ReturnType<typeof listen>>[] = [];
      for (let number = 0; number < total; number++) {
        void log.publish(event('received', `upload${number}`));
        if (number % 30 === 0) late.push(await listen(log, {}, start));
      }
      await until(() => events.length === total + 1 && late.every((each) => each.events.length === total));
      for (const each of late) expect(each.events).toEqual(events.slice(1));
    });

    test('events that are published at once keep their order', async () => {
      const log = await openLog();
      const { events } = await listen(log);
      const ids = Array.from({ length: 200 }, (_, index) => `upload${index}`);
      await Promise.all(ids.map((id) => log.publish(event(id.endsWith('5') ? 'progress' : 'created', id))));
      await until(() => events.length === ids.length);
      expect(events.map(({ uploadId }) => uploadId)).toEqual(ids);
    });

    test('the log outlives the process', async () => {
      const harness = await newHarness();
      const before = await harness.openLog();
      const { events } = await listen(before);
      await before.publish(event('created', 'a'));
      await before.publish(event('received', 'a'));
      await until(() => events.length === 2);
      await before.close();
      await before.close();
      const after = await harness.openLog();
      const again = await listen(after, {}, events[0]?.id);
      await after.publish(event('ready', 'a'));
      await until(() => again.events.length === 2);
      expect(again.events[0]).toEqual(events[1]);
      expect(again.events[1]).toMatchObject({ type: 'ready' });
      const both = await listen(after, {}, events[1]?.id);
      expect(both.events).toEqual(again.events.slice(1));
    });

    test('the last ten thousand events are kept', async () => {
      const log = await openLog();
      const { events } = await listen(log);
      const total = 10_400;
      for (let number = 0; number < total; number += 400) {
        await Promise.all(
          Array.from({ length: 400 }, (_, index) => log.publish(event('created', `upload${number + index}`))),
        );
      }
      await until(() => events.length === total);
      expect((await listen(log, {}, events[0]?.id)).subscription.isReset).toBe(true);
      expect((await listen(log, {}, events[250]?.id)).subscription.isReset).toBe(true);
      const { events: replayed } = await listen(log, {}, events[400]?.id);
      await until(() => replayed.length === total - 401);
      expect(replayed.at(0)).toEqual(events[401]);
      expect(replayed.at(-1)).toEqual(events.at(-1));
    });

    if (isShared) {
      test('listeners of all processes hear the same in the same order', async () => {
        const harness = await newHarness();
        const logs = [await harness.openLog(), await harness.openLog(), await harness.openLog()];
        const heard = await Promise.all(logs.map((log) => listen(log)));
        await Promise.all(
          Array.from({ length: 150 }, (_, index) =>
            logs[index % 3]?.publish(event('created', `upload${index}`)),
          ),
        );
        await logs[0]?.publish(event('progress', 'upload0', { offset: 3 }));
        await until(() => heard.every(({ events }) => events.length === 151));
        expect(heard[1]?.events).toEqual(heard[0]?.events);
        expect(heard[2]?.events).toEqual(heard[0]?.events);
        const elsewhere = await listen(logs[2] as EventLog, {}, heard[0]?.events[99]?.id);
        expect(elsewhere.events).toEqual(heard[0]?.events.slice(100, 150));
      });
    }
  });
}

function event(
  type: NewUploadEvent['type'],
  uploadId: string,
  data: NewUploadEvent['data'] = {},
): NewUploadEvent {
  return { type, uploadId, atMs: 1_750_000_000_000 + Math.floor(Math.random() * 1_000), data };
}

async function listen(log: EventLog, filter: EventFilter = {}, afterId?: string) {
  const events: UploadEvent[] = [];
  const subscription = await log.subscribe(filter, afterId, (each) => void events.push(each));
  return { events, subscription };
}

function withoutId({ id: _, ...rest }: UploadEvent): NewUploadEvent {
  return rest;
}
