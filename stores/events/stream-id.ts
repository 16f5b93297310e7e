/** The id of an entry of a Redis stream: milliseconds, a dash, a number. `0-0` comes before all entries. */
export const BEFORE_ALL = '0-0';

const STREAM_ID = /^(\d{1,20})-(\d{1,20})$/;

export function isStreamId(text: string): boolean {
  return STREAM_ID.test(text) && text !== BEFORE_ALL;
}

/** Of two ids that Redis made. */
export function isLater(id: string, than: string): boolean {
  const [ms, number] = parse(id);
  const [thanMs, thanNumber] = parse(than);
  return ms === thanMs ? number > thanNumber : ms > thanMs;
}

/** Below 2^53 in any stream of ours. */
function parse(id: string): [ms: number, number: number] {
  const dash = id.indexOf('-');
  return [Number(id.slice(0, dash)), Number(id.slice(dash + 1))];
}
