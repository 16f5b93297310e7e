import type { Cluster } from 'ioredis';
import type { ClusterLayout } from './types.ts';

const SLOTS = 16_384;

/** Follows which node has which slots, as ioredis learns it: at the start, every 15 s, and when a node fails or moves something. */
export function watchLayout(client: Cluster): ClusterLayout {
  /** By the node's name: the tag of its lowest slot, so that all processes choose the same. */
  let tags = new Map<string, string>();
  const listeners = new Set<() => void>();
  const tagOfSlot = createTagFinder();

  function update(): void {
    const before = describe(tags);
    tags = new Map();
    for (const [slot, [owner] = []] of client.slots.entries()) {
      if (owner !== undefined && !tags.has(owner)) tags.set(owner, tagOfSlot(slot));
    }
    if (describe(tags) !== before) for (const listener of listeners) listener();
  }
  client.on('refresh', update);

  return {
    tagBeside(key) {
      const owner = client.slots[hashSlotOf(key)]?.[0];
      if (owner === undefined) return undefined;
      // A node has just sent us there, and the rest of what it took over is not known yet.
      if (!tags.has(owner)) update();
      return tags.get(owner);
    },
    tags: () => [...tags.values()],
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

function describe(tags: ReadonlyMap<string, string>): string {
  return JSON.stringify([...tags]);
}

/**
 * The slot that a key lies in: CRC16 (XMODEM) of what is in its first braces, where there is something in them, else
 * of all of it, modulo 16384 (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
 */
export function hashSlotOf(key: string): number {
  const open = key.indexOf('{');
  const close = open === -1 ? -1 : key.indexOf('}', open + 1);
  const hashed = close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of Buffer.from(hashed)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc % SLOTS;
}

/** Of a slot: the first of `.0`, `.1`, `.2`… that lies in it. Each has one below 200,000. */
export function createTagFinder(): (slot: number) => string {
  const found = new Map<number, string>();
  let tried = 0;
  return (slot) => {
    for (;;) {
      const tag = found.get(slot);
      if (tag !== undefined) return tag;
      const candidate = `.${tried++}`;
      const at = hashSlotOf(candidate);
      if (!found.has(at)) found.set(at, candidate);
    }
  };
}
