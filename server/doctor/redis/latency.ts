import { type Check, ok, warn } from '../types.ts';
import type { RedisProbe } from './probe.ts';

const PINGS = 50;
const SLOW_MEDIAN_MS = 5;
const SLOW_WORST_MS = 250;

/** Every request takes a lock and gives it back: two round trips. */
export function latencyCheck({ connection }: RedisProbe): Check {
  return {
    name: 'latency',
    async run() {
      const times: number[] = [];
      for (let ping = 0; ping < PINGS; ping += 1) {
        const startedAt = performance.now();
        await connection.commands.send('PING');
        times.push(performance.now() - startedAt);
      }
      times.sort((a, b) => a - b);
      const median = times[PINGS / 2] ?? 0;
      const worst = times.at(-1) ?? 0;
      const says = `A round trip takes ${median.toFixed(1)} ms (median of ${PINGS}), at worst ${worst.toFixed(1)} ms`;
      if (median > SLOW_MEDIAN_MS) {
        return [
          warn(
            `${says}: each request waits for two or more of them.`,
            'Put Redis into the same network as Landfall.',
          ),
        ];
      }
      if (worst > SLOW_WORST_MS) {
        return [
          warn(
            `${says}: somebody blocks it. After 1.25 s it counts as down.`,
            'Look at SLOWLOG, and at forks for snapshots.',
          ),
        ];
      }
      return [ok(`${says}.`)];
    },
  };
}
