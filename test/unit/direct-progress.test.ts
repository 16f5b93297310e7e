import { expect, test, vi } from 'vitest';
import { createDirectProgress, type ProgressServices } from '../../server/direct/progress.ts';

/** One upload of 100 bytes, of which `offset` are there. */
function uploadOf(offset: number, state = 'receiving') {
  const record = { state, offset: 0 };
  const stored = { offset, size: 100 };
  const looks = vi.fn(async () => stored);
  const told = vi.fn();
  const services = {
    store: { getUpload: looks },
    catalog: {
      get: async () => record,
      transition: async (_id: string, from: string, _to: string, patch: object) =>
        record.state === from ? Object.assign(record, patch) : undefined,
    },
    events: { progress: told },
    log: { debug: told },
  } as unknown as ProgressServices;
  return { services, record, stored, looks, told };
}

test('tells how far an upload is, once every three seconds, and only what is new', async () => {
  const { services, record, stored, looks, told } = uploadOf(40);
  let nowMs = 10_000;
  const progress = createDirectProgress(services, () => nowMs);
  const note = async () => {
    progress.note('a');
    await new Promise(setImmediate);
  };
  await note();
  await note();
  expect(looks).toHaveBeenCalledTimes(1);
  expect(told).toHaveBeenCalledExactlyOnceWith('a', { offset: 40, size: 100 });
  expect(record.offset).toBe(40);
  nowMs += 3_000;
  await note();
  expect([looks.mock.calls.length, told.mock.calls.length]).toEqual([2, 1]);
  stored.offset = 80;
  nowMs += 3_000;
  await note();
  expect(told).toHaveBeenLastCalledWith('a', { offset: 80, size: 100 });
});

test('says nothing of what is over', async () => {
  const { services, told } = uploadOf(100, 'ready');
  createDirectProgress(services).note('a');
  await new Promise(setImmediate);
  expect(told).not.toHaveBeenCalled();
});
