import { describe, expect, test } from 'vitest';
import { createChunkPace, createParallelPace } from '../../web/uploader/pace.ts';
import { MIN_PART_BYTES, partSizeFor, planParts } from '../../web/uploader/part-size.ts';
import { createSlots } from '../../web/uploader/slots.ts';
import { createSpeedMeter } from '../../web/uploader/speed-meter.ts';
import { jittered } from '../../web/uploader/wait.ts';

/* How the browser module decides what to send at once. */

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

describe('the size of parts', () => {
  test.each([
    [1, 5 * MIB],
    [200 * MIB, 5 * MIB],
    [2 * GIB, 8 * MIB],
    [10 * GIB, 16 * MIB],
    [100 * GIB, 32 * MIB],
    [500 * GIB, 64 * MIB],
  ])('of %d bytes is %d', (fileBytes, partBytes) => {
    expect(partSizeFor(fileBytes)).toBe(partBytes);
  });

  test('is never less than S3 takes, and never so small that there were more than 10,000', () => {
    expect(partSizeFor(MIB, 1)).toBe(MIN_PART_BYTES);
    expect(partSizeFor(MIB, 7 * MIB)).toBe(7 * MIB);
    for (const fileBytes of [60 * GIB, 5 * TIB, 48 * TIB]) {
      expect(Math.ceil(fileBytes / partSizeFor(fileBytes, 1))).toBeLessThanOrEqual(10_000);
    }
  });

  test('parts cover the file without a gap', () => {
    expect(planParts(12, 5)).toEqual([
      { number: 1, start: 0, end: 5 },
      { number: 2, start: 5, end: 10 },
      { number: 3, start: 10, end: 12 },
    ]);
    expect(planParts(10, 5)).toHaveLength(2);
  });
});

describe('the size of tus requests', () => {
  const adaptive = { downlinkMbps: undefined, isAdaptive: true };

  test('grows on a fast network, at most to twice as much at a time, and to 64 MiB', () => {
    const pace = createChunkPace(adaptive);
    const sizes = [4, 8, 16, 32, 64, 64].map((mib) => {
      expect(pace.bytes()).toBe(mib * MIB);
      pace.sent(pace.bytes(), 100);
      return pace.bytes();
    });
    expect(sizes.at(-1)).toBe(64 * MIB);
  });

  test('follows a slow network down to 256 KiB', () => {
    const pace = createChunkPace(adaptive);
    pace.sent(4 * MIB, 40_000);
    expect(pace.bytes()).toBe(512 * KIB);
    pace.sent(512 * KIB, 60_000);
    expect(pace.bytes()).toBe(256 * KIB);
  });

  test('halves with every failure', () => {
    const pace = createChunkPace(adaptive);
    pace.failed();
    expect(pace.bytes()).toBe(2 * MIB);
    for (let failure = 0; failure < 10; failure++) pace.failed();
    expect(pace.bytes()).toBe(256 * KIB);
  });

  test('starts small where the browser knows of a slow network, and stays where it is not to adapt', () => {
    expect(createChunkPace({ downlinkMbps: 1, isAdaptive: true }).bytes()).toBe(512 * KIB);
    const fixed = createChunkPace({ downlinkMbps: undefined, isAdaptive: false });
    fixed.sent(4 * MIB, 1);
    fixed.failed();
    expect(fixed.bytes()).toBe(4 * MIB);
  });

  test('learns nothing from the short rest of a file', () => {
    const pace = createChunkPace(adaptive);
    pace.sent(10, 5000);
    expect(pace.bytes()).toBe(4 * MIB);
  });
});

describe('how many requests run at once', () => {
  /** A network that gives every request so many bytes per second, and all of them together at most so many. */
  function simulate(
    seconds: number,
    each: number,
    most: number,
    options = { initial: 3, max: 6, isAdaptive: true },
  ) {
    const pace = createParallelPace(options);
    const limits: number[] = [];
    for (let ms = 0; ms <= seconds * 1000; ms += 100) {
      pace.sent(Math.min(each * pace.limit(), most) / 10, ms);
      limits.push(pace.limit());
    }
    return limits;
  }

  test('as many as make it faster', () => {
    expect(simulate(30, 1e6, 100e6).at(-1)).toBe(6);
  });

  test('no more than make it faster, apart from a try now and then', () => {
    const limits = simulate(60, 1e6, 3e6);
    expect(Math.max(...limits)).toBe(4);
    expect(limits.filter((limit) => limit === 3).length).toBeGreaterThan(limits.length * 0.7);
  });

  test('half after a failure, once for all that fail together, never none', () => {
    const pace = createParallelPace({ initial: 6, max: 6, isAdaptive: true });
    pace.failed(0);
    pace.failed(10);
    pace.failed(20);
    expect(pace.limit()).toBe(3);
    pace.failed(5_000);
    pace.failed(10_000);
    pace.failed(15_000);
    expect(pace.limit()).toBe(1);
  });

  test('always the same where it is not to adapt', () => {
    expect(new Set(simulate(30, 1e6, 100e6, { initial: 3, max: 6, isAdaptive: false }))).toEqual(
      new Set([3]),
    );
  });
});

describe('slots', () => {
  const never = new AbortController().signal;

  test('go to the highest priority that waits, among equals to the first', async () => {
    const slots = createSlots(1);
    const order: string[] = [];
    const giveBack = await slots.take(() => 0, never);
    const wait = async (name: string, priority: () => number) => {
      const done = await slots.take(priority, never);
      order.push(name);
      done();
    };
    let raised = 0;
    const all = [wait('a', () => 0), wait('b', () => 1), wait('c', () => 0), wait('d', () => raised)];
    raised = 2;
    giveBack();
    await Promise.all(all);
    expect(order).toEqual(['d', 'b', 'a', 'c']);
  });

  test('are not given to who gave up, and given back once', async () => {
    const slots = createSlots(1);
    const giveBack = await slots.take(() => 0, never);
    const controller = new AbortController();
    const waiting = slots.take(() => 9, controller.signal);
    const next = slots.take(() => 0, never);
    const last = slots.take(() => 0, never);
    controller.abort(new Error('gave up'));
    await expect(waiting).rejects.toThrow('gave up');
    giveBack();
    giveBack();
    (await next)();
    await last;
  });

  test('become more at once', async () => {
    const slots = createSlots(1);
    await slots.take(() => 0, never);
    const second = slots.take(() => 0, never);
    slots.setLimit(2);
    await second;
  });
});

describe('the speed', () => {
  test('is that of the last seconds', () => {
    const meter = createSpeedMeter();
    expect(meter.bytesPerSecond(0)).toBe(0);
    for (let second = 0; second <= 20; second++)
      meter.record(second < 10 ? 0 : (second - 10) * 500, second * 1000);
    expect(meter.bytesPerSecond(20_000)).toBe(500);
  });

  test('falls while nothing is sent', () => {
    const meter = createSpeedMeter();
    meter.record(0, 0);
    meter.record(1000, 1000);
    expect(meter.bytesPerSecond(1000)).toBe(1000);
    expect(meter.bytesPerSecond(4000)).toBe(250);
  });

  test('does not become negative when a part is sent again', () => {
    const meter = createSpeedMeter();
    meter.record(0, 0);
    meter.record(5000, 1000);
    meter.record(2000, 2000);
    meter.record(3000, 3000);
    expect(meter.bytesPerSecond(3000)).toBeCloseTo(333, 0);
  });
});

test('waits are spread between half and one and a half', () => {
  expect([jittered(1000, () => 0), jittered(1000, () => 0.5), jittered(1000, () => 0.9999)]).toEqual([
    500, 1000, 1500,
  ]);
});
