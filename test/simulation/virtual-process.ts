import type { Environment } from '../../stores/environment.ts';
import type { World } from './world.ts';

/**
 * A process that may be killed and stopped. What comes in (answers, timers, bytes) goes through `deliver`: it is
 * lost when the process it was meant for is dead, and waits while it is stopped.
 */
export class VirtualProcess {
  readonly name: string;
  readonly #world: World;
  #life = 0;
  #stoppedUntilMs = 0;
  readonly #waiting: (() => void)[] = [];
  #boot: () => void = () => undefined;

  constructor(name: string, world: World) {
    this.name = name;
    this.#world = world;
  }

  /** What runs at every start. */
  onBoot(boot: () => void): void {
    this.#boot = boot;
    boot();
  }

  /** A callback for this life of the process, to be called by the outside. */
  deliver<T extends unknown[]>(callback: (...values: T) => void): (...values: T) => void {
    const life = this.#life;
    return (...values) => {
      if (this.#life !== life) return;
      if (this.#stoppedUntilMs <= this.#world.scheduler.nowMs && this.#waiting.length === 0) {
        callback(...values);
        return;
      }
      // In the order of arrival: a stopped process finds its sockets' bytes in sequence.
      if (this.#waiting.length === 0) this.#wakeUp();
      this.#waiting.push(() => {
        if (this.#life === life) callback(...values);
      });
    };
  }

  #wakeUp(): void {
    const { scheduler } = this.#world;
    scheduler.at(Math.max(0, this.#stoppedUntilMs - scheduler.nowMs), () => {
      if (this.#stoppedUntilMs <= scheduler.nowMs) this.#waiting.shift()?.();
      if (this.#waiting.length > 0) this.#wakeUp();
    });
  }

  /** An answer from outside; never settles when the process dies first. */
  ask<T>(question: (answer: (outcome: T | Error) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = this.deliver((outcome: T | Error) =>
        outcome instanceof Error ? reject(outcome) : resolve(outcome),
      );
      question(settle);
    });
  }

  environment(): Environment {
    const { scheduler } = this.#world;
    return {
      nowMs: () => scheduler.nowMs,
      setTimer: (ms, callback) => {
        let isCancelled = false;
        const fire = this.deliver(() => {
          if (!isCancelled) callback();
        });
        scheduler.at(ms, fire);
        return () => {
          isCancelled = true;
        };
      },
      random: () => scheduler.random(),
      randomHex: (bytes) =>
        Array.from({ length: bytes * 2 }, () => scheduler.below(16).toString(16)).join(''),
    };
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) =>
      this.#world.scheduler.at(
        ms,
        this.deliver(() => resolve()),
      ),
    );
  }

  kill(): void {
    this.#world.log(`KILL ${this.name}`);
    this.#life += 1;
    this.#stoppedUntilMs = 0;
    const life = this.#life;
    this.#world.scheduler.at(5, () => {
      if (this.#life === life) this.#boot();
    });
  }

  stop(ms: number): void {
    this.#world.log(`STOP ${this.name} for ${ms}`);
    this.#stoppedUntilMs = Math.max(this.#stoppedUntilMs, this.#world.scheduler.nowMs + ms);
  }
}
