/**
 * Virtual time, seeded chance, and one event at a time. Real code under test uses promises: after each event the
 * scheduler lets every microtask and nextTick run out before it takes the next, so one seed is one history.
 */
export interface Scheduler {
  readonly nowMs: number;
  /** Calls back `delayMs` from now; events of the same moment run in the order in which they were made. */
  at(delayMs: number, event: () => void): void;
  /** In [0, 1). */
  random(): number;
  /** Integer in [0, below). */
  below(limit: number): number;
  chance(probability: number): boolean;
  /** Runs events until there are none, time is up, or `isOver`. */
  run(untilMs: number, isOver: () => boolean): Promise<void>;
  readonly steps: number;
}

interface Event {
  time: number;
  order: number;
  run: () => void;
}

export function createScheduler(seed: number): Scheduler {
  const random = seededRandom(seed);
  const heap: Event[] = [];
  let nowMs = 0;
  let order = 0;
  let steps = 0;
  return {
    get nowMs() {
      return nowMs;
    },
    get steps() {
      return steps;
    },
    at(delayMs, run) {
      push(heap, { time: nowMs + delayMs, order: order++, run });
    },
    random,
    below: (limit) => Math.floor(random() * limit),
    chance: (probability) => random() < probability,
    async run(untilMs, isOver) {
      for (let event = pop(heap); event !== undefined; event = pop(heap)) {
        if (event.time > untilMs || isOver()) return;
        nowMs = event.time;
        steps += 1;
        event.run();
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    },
  };
}

/** mulberry32. */
function seededRandom(seed: number): () => number {
  let state = Math.imul(seed, 2654435761) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function isBefore(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}

function push(heap: Event[], event: Event): void {
  heap.push(event);
  for (let child = heap.length - 1; child > 0; ) {
    const parent = (child - 1) >> 1;
    if (!isBefore(heap[child] as Event, heap[parent] as Event)) break;
    [heap[child], heap[parent]] = [heap[parent] as Event, heap[child] as Event];
    child = parent;
  }
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (heap.length === 0 || last === undefined) return first;
  heap[0] = last;
  for (let parent = 0; ; ) {
    let child = 2 * parent + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child += 1;
    if (!isBefore(heap[child] as Event, heap[parent] as Event)) break;
    [heap[child], heap[parent]] = [heap[parent] as Event, heap[child] as Event];
    parent = child;
  }
  return first;
}
