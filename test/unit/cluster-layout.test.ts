import { EventEmitter } from 'node:events';
import type { Cluster } from 'ioredis';
import { describe, expect, test, vi } from 'vitest';
import { createTagFinder, hashSlotOf, watchLayout } from '../../stores/redis/cluster-layout.ts';
import type { ClusterLayout } from '../../stores/redis/types.ts';

test.each([
  // What `CLUSTER KEYSLOT` of a real one answers.
  ['', 0],
  ['foo', 12182],
  ['123456789', 12739],
  ['ü', 9552],
  ['foo{b}x', 3300],
  ['{user1000}.following', 3443],
  // Nothing in the first braces: all of it counts.
  ['foo{}{bar}', 8363],
  ['foo{{bar}}zap', 4015],
  ['foo{bar}{zap}', 5061],
  ['foo{bar', 15278],
])('the key %j lies in slot %i', (key, slot) => {
  expect(hashSlotOf(key)).toBe(slot);
});

test('every slot has a tag that leads there', () => {
  const tagOfSlot = createTagFinder();
  for (let slot = 0; slot < 16_384; slot += 1) {
    const tag = tagOfSlot(slot);
    expect(tag).toMatch(/^\.\d{1,6}$/);
    expect(hashSlotOf(`landfall:lock-era:{${tag}}`)).toBe(slot);
  }
});

describe('the layout of a Cluster', () => {
  /** As ioredis has it: for every slot the master's name, then those of its replicas. */
  const startFollowing = (slots: string[][]) => {
    const client = Object.assign(new EventEmitter(), { slots });
    const layout = watchLayout(client as unknown as Cluster);
    const changes = vi.fn();
    layout.onChange(changes);
    return { client, layout, changes };
  };
  const halves = (low: string, high: string) =>
    Array.from({ length: 16_384 }, (_, slot) => [slot < 8192 ? low : high, 'replica:1']);
  const slotBeside = (layout: ClusterLayout, key: string) => hashSlotOf(`{${layout.tagBeside(key)}}`);

  test('is unknown at first; then every key has a tag on its own node', () => {
    const { client, layout, changes } = startFollowing([]);
    expect([layout.tagBeside('foo'), layout.tags()]).toEqual([undefined, []]);
    client.slots = halves('a:1', 'b:1');
    client.emit('refresh');
    expect(changes).toHaveBeenCalledOnce();
    // foo{b}x lies in slot 3300, foo in 12182.
    expect([slotBeside(layout, 'foo{b}x'), slotBeside(layout, 'foo')]).toEqual([0, 8192]);
    expect(layout.tags().map((tag) => hashSlotOf(tag))).toEqual([0, 8192]);
    client.emit('refresh');
    expect(changes).toHaveBeenCalledOnce();
  });

  test('is told when another node has taken over, under the same tag', () => {
    const { client, layout, changes } = startFollowing(halves('a:1', 'b:1'));
    client.emit('refresh');
    const before = layout.tags();
    client.slots = halves('a:1', 'c:1');
    client.emit('refresh');
    expect(changes).toHaveBeenCalledTimes(2);
    expect(layout.tags()).toEqual(before);
  });

  test('knows a node that it was sent to before it knows what else is there', () => {
    const { client, layout, changes } = startFollowing(halves('a:1', 'b:1'));
    client.emit('refresh');
    client.slots[12_182] = ['c:1'];
    expect(slotBeside(layout, 'foo')).toBe(12_182);
    expect(changes).toHaveBeenCalledTimes(2);
  });
});
