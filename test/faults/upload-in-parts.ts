import type { UploadPlan } from './plan.ts';
import { type Random, sha256Hex } from './random.ts';
import { UploadActor, type UploadResult } from './upload-actor.ts';
import type { World } from './world.ts';

/**
 * One client that sends its file as partial uploads, all at once, and has a final one made of them; each of the
 * requests suffers what those of any other client do.
 */
export async function uploadInParts(
  world: World,
  random: Random,
  plan: UploadPlan,
  name: string,
): Promise<UploadResult> {
  const parts = cutUp(plan.content, random).map((content, index) => {
    const part: UploadPlan = {
      ...plan,
      content,
      sha256: sha256Hex(content),
      concat: 'partial',
      deletesAtByte: undefined,
      faults: Math.ceil(plan.faults / 2),
    };
    return new UploadActor(world, random.fork(`part ${index}`), part, `${name}.${index}`).run();
  });
  const made = await Promise.all(parts);
  const final: UploadPlan = {
    ...plan,
    concat: `final;${made.map(({ id }) => `/files/${id}`).join(' ')}`,
    hasDeferredLength: false,
    sendsDataOnCreation: false,
    endsWithEmptyPatch: false,
    hasChecksums: false,
  };
  return new UploadActor(world, random.fork('final'), final, name).run();
}

/** Pieces of any length, empty ones among them. */
function cutUp(content: Buffer, random: Random): Buffer[] {
  const count = random.int(2, 4);
  const cuts = Array.from({ length: count - 1 }, () => random.int(0, content.length)).sort((a, b) => a - b);
  return [0, ...cuts].map((start, index) => content.subarray(start, cuts[index] ?? content.length));
}
