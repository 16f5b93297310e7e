/** Addresses are asked for in batches of this many: one request instead of twenty, and none gets old meanwhile. */
const BATCH = 20;

export interface PartSigner {
  /** The address to put a part to; waits for a batch that is on its way. */
  urlOf(number: number): Promise<string>;
  /** Forgets an address that did not work. */
  drop(number: number): void;
}

export interface PartSignerOptions {
  /** Of all parts that are to be sent, in the order in which they are. */
  numbers: readonly number[];
  sign: (numbers: readonly number[]) => Promise<Map<number, string>>;
}

export function createPartSigner({ numbers, sign }: PartSignerOptions): PartSigner {
  const urls = new Map<number, Promise<string>>();
  const positions = new Map(numbers.map((number, position) => [number, position]));
  let batchEnd = 0;

  const signFrom = (number: number) => {
    const position = positions.get(number) ?? 0;
    // The address of a part that failed is asked for alone.
    const end = position < batchEnd ? position + 1 : position + BATCH;
    batchEnd = Math.max(batchEnd, end);
    const batch = numbers.slice(position, end);
    const signed = sign(batch);
    for (const one of batch) {
      const url = signed.then((all) => all.get(one) as string);
      url.catch(() => {}); // whoever asks for it is told
      urls.set(one, url);
    }
  };

  return {
    urlOf(number) {
      if (!urls.has(number)) signFrom(number);
      return urls.get(number) as Promise<string>;
    },
    drop(number) {
      urls.delete(number);
    },
  };
}
