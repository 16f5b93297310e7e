import type { Random } from './random.ts';
import type { KillSignal, Topology } from './topology.ts';

/** Something that must never happen has happened. */
export class Violation extends Error {}

/** What happened in one seed, in order, for people. */
export class Trace {
  readonly lines: string[] = [];
  readonly #startedAt = performance.now();

  add(who: string, what: string): void {
    const ms = Math.round(performance.now() - this.#startedAt);
    this.lines.push(`${String(ms).padStart(6)} ms  ${who.padEnd(9)} ${what}`);
  }
}

const LOG_LINE_OF_AN_ERROR = /^\{"level":(?:50|60).*$/m;

/** The servers of one seed: killed by whoever is told to, started again by whoever needs them. */
export class World {
  readonly topology: Topology;
  readonly trace: Trace;
  readonly #random: Random;
  readonly #ending = new Set<Promise<void>>();
  #starting: Promise<void> | undefined;
  #startKillsLeft: number;
  #isOver = false;
  kills = 0;
  restarts = 0;

  constructor(topology: Topology, trace: Trace, random: Random) {
    this.topology = topology;
    this.trace = trace;
    this.#random = random;
    this.#startKillsLeft = random.weighted([
      [6, 0],
      [3, 1],
      [1, 2],
    ]);
  }

  /** Sends the signal before it returns: the caller chose this very moment. */
  kill(signal: KillSignal, why: string): void {
    const indexes = [...Array(this.topology.processCount).keys()].filter((index) =>
      this.topology.isUp(index),
    );
    if (indexes.length === 0) return;
    const index = this.#random.pick(indexes);
    const ended = this.topology.kill(index, signal);
    this.kills += 1;
    this.trace.add('server', `${signal} to process ${index}: ${why}`);
    const checked = ended.then((code) => {
      if (signal === 'SIGTERM' && code !== 0) throw new Violation(`SIGTERM ended the server with ${code}`);
    });
    this.#ending.add(checked);
    checked.catch(() => {}); // whoever starts it again is told
  }

  /** Starts what is down. Everybody who needs a server calls this first. */
  ensureUp(): Promise<void> {
    if (this.#isOver) return Promise.reject(new Violation('the seed is over'));
    this.#starting ??= this.#startAll().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  /** Ends all processes and starts them so that every unfinished upload is expired at once, and swept. */
  async restartToSweep(): Promise<void> {
    await this.ensureUp();
    const signal = this.#random.pick(['SIGKILL', 'SIGTERM'] as const);
    for (let index = 0; index < this.topology.processCount; index++) {
      this.#ending.add(
        this.topology.kill(index, signal).then((code) => {
          if (signal === 'SIGTERM' && code !== 0)
            throw new Violation(`SIGTERM ended the server with ${code}`);
        }),
      );
    }
    this.trace.add('server', `${signal} to all, to sweep`);
    await this.#allEnded();
    await this.#maybeLoseIndex(0.15);
    const env = { LANDFALL_EXPIRATION: '1ms', LANDFALL_SWEEP_INTERVAL: '20ms' };
    for (let index = 0; index < this.topology.processCount; index++) {
      await this.topology.start(index, { env });
    }
  }

  /** From now on nobody gets a server any more: what is still under way ends. */
  end(): void {
    this.#isOver = true;
  }

  /** A server that logs an error saw something that it does not know how to deal with. */
  checkLog(): void {
    if (this.topology.hasFailingCalls) return;
    const line = LOG_LINE_OF_AN_ERROR.exec(this.topology.output())?.[0];
    if (line !== undefined) throw new Violation(`the server logged an error: ${line}`);
  }

  async #startAll(): Promise<void> {
    for (let index = 0; index < this.topology.processCount; index++) {
      while (!this.topology.isUp(index) && !this.#isOver) {
        await this.#allEnded();
        const isAllDown = [...Array(this.topology.processCount).keys()].every((i) => !this.topology.isUp(i));
        if (this.restarts > 0 && isAllDown) await this.#maybeLoseIndex(0.1);
        await this.#startOne(index);
      }
    }
  }

  async #startOne(index: number): Promise<void> {
    this.restarts += 1;
    if (this.#startKillsLeft > 0 && this.#random.chance(0.4)) {
      this.#startKillsLeft -= 1;
      const delayMs = this.#random.int(0, 350);
      const controller = new AbortController();
      const timer = setTimeout(() => controller.abort(), delayMs);
      this.trace.add('server', `start of process ${index}, to be killed after ${delayMs} ms`);
      const hasStarted = await this.topology.start(index, { signal: controller.signal }).then(
        () => true,
        (error: unknown) => {
          if (!controller.signal.aborted) throw error;
          return false;
        },
      );
      clearTimeout(timer);
      if (!hasStarted) this.kills += 1;
      this.trace.add('server', hasStarted ? 'was faster than that' : 'killed while it started');
      return;
    }
    await this.topology.start(index);
    this.trace.add('server', `process ${index} is up`);
  }

  async #maybeLoseIndex(probability: number): Promise<void> {
    if (!this.#random.chance(probability)) return;
    this.trace.add('server', `deleted while down: ${await this.topology.loseIndex(this.#random)}`);
  }

  async #allEnded(): Promise<void> {
    const ending = [...this.#ending];
    this.#ending.clear();
    await Promise.all(ending);
  }
}
