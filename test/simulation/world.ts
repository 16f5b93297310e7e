import { createScheduler, type Scheduler } from './scheduler.ts';

/** How hostile one seed's world is. */
export interface Weather {
  deferredLength: boolean;
  deletes: boolean;
  expires: boolean;
  /** Entity tags that say nothing about the bytes. */
  opaqueEtags: boolean;
  /** Processes that disagree about the part size. */
  mixedPartSizes: boolean;
  /** The object shows up only some time after its completion. */
  slowCompletion: boolean;
  redisRestores: boolean;
  slow: boolean;
  /** Clients that give up fast, and a Redis that is flushed again and again. */
  storm: boolean;
  /** Little memory, several uploads. */
  crowded: boolean;
  faultProbability: number;
  faultsUntilMs: number;
}

export class Violation extends Error {
  readonly kind: string;

  constructor(kind: string, message: string) {
    super(`${kind}: ${message}`);
    this.name = 'Violation';
    this.kind = kind;
  }
}

/** What all parts of one simulated history share. */
export interface World {
  scheduler: Scheduler;
  weather: Weather;
  /** Faults are injected until then; afterwards everything must come to rest. */
  isFaulty(): boolean;
  lockTtlMs: number;
  /** 0: uploads never expire. */
  expirationMs: number;
  log(line: string): void;
  /** Ends the history. The first violation counts. */
  violate(kind: string, message: string): void;
  readonly violation: Violation | undefined;
}

export function createWorld(seed: number, trace: string[] | undefined, overrides: Partial<Weather>): World {
  const scheduler = createScheduler(seed);
  const weather = { ...forecast(scheduler), ...overrides };
  let violation: Violation | undefined;
  const world: World = {
    scheduler,
    weather,
    lockTtlMs: weather.storm ? 240 : 60,
    expirationMs: weather.expires ? 400 : 0,
    isFaulty: () => scheduler.nowMs < weather.faultsUntilMs,
    log(line) {
      trace?.push(`t=${scheduler.nowMs} ${line}`);
    },
    violate(kind, message) {
      world.log(`VIOLATION ${kind}: ${message}`);
      violation ??= new Violation(kind, message);
    },
    get violation() {
      return violation;
    },
  };
  return world;
}

function forecast({ chance, below }: Scheduler): Weather {
  return {
    deferredLength: chance(0.35),
    deletes: chance(0.12),
    expires: chance(0.2),
    opaqueEtags: chance(0.3),
    mixedPartSizes: chance(0.4),
    slowCompletion: chance(0.15),
    redisRestores: chance(0.4),
    slow: chance(0.5),
    storm: chance(0.4),
    crowded: chance(0.2),
    faultProbability: [0.02, 0.06, 0.15][below(3)] as number,
    faultsUntilMs: 600 + below(900),
  };
}
