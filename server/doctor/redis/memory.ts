import { type Check, type Finding, fail, ok, warn } from '../types.ts';
import { infoNumber, type RedisNode, type RedisProbe } from './probe.ts';

const MIB = 1024 ** 2;

/** Redis must refuse when it is full, not forget: what it would forget first are locks. */
export function evictionCheck({ nodes }: RedisProbe): Check {
  return {
    name: 'eviction',
    async run() {
      const wrong = (await nodes()).filter(({ info }) => info.get('maxmemory_policy') !== 'noeviction');
      const [node] = wrong;
      if (node === undefined) return [ok('noeviction: a full Redis refuses writes and forgets nothing.')];
      return [
        fail(
          `maxmemory-policy is ${node.info.get('maxmemory_policy') ?? 'unknown'}${onWhich(wrong)}: when memory runs out, Redis throws away locks and records.`,
          'Set maxmemory-policy noeviction, and give Landfall a Redis that is no cache of others.',
        ),
      ];
    },
  };
}

/** How near Redis is to its limit, and to that of its machine. */
export function memoryCheck({ nodes }: RedisProbe): Check {
  return {
    name: 'memory',
    async run() {
      return (await nodes()).map(({ info, name }, _index, all): Finding => {
        const used = infoNumber(info, 'used_memory');
        const limit = infoNumber(info, 'maxmemory') || infoNumber(info, 'total_system_memory');
        const of =
          infoNumber(info, 'maxmemory') > 0 ? 'its maxmemory' : "its machine's memory (maxmemory is not set)";
        const says = `${all.length === 1 ? 'It' : name} uses ${mib(used)} of ${limit === 0 ? 'an unknown limit' : mib(limit)}, ${of}`;
        if (limit > 0 && used > limit * 0.95) {
          return fail(
            `${says}: it is about to refuse writes, and with them uploads.`,
            'Raise maxmemory, or remove what else is in it.',
          );
        }
        if (limit > 0 && used > limit * 0.75) {
          return warn(`${says}.`, 'Raise maxmemory soon: a thousand records take about 2 MB.');
        }
        return ok(`${says}.`);
      });
    },
  };
}

function onWhich(nodes: readonly RedisNode[]): string {
  return nodes.length > 1 ? ` on ${nodes.map(({ name }) => name).join(', ')}` : '';
}

function mib(bytes: number): string {
  return bytes >= 1024 * MIB
    ? `${(bytes / MIB / 1024).toFixed(1)} GiB`
    : `${Math.max(1, Math.round(bytes / MIB))} MiB`;
}
