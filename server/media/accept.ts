/** Best first, as long as a client says that it can show it. */
const PREFERENCE = ['image/avif', 'image/webp', 'image/jpeg'];
/** What a client that names nothing is given: every browser of the last years can show it. */
const SAFE_TYPES = ['image/webp', 'image/jpeg'];

/**
 * Which of several forms of one image a client gets (RFC 9110, 12.5.1): the one with the highest weight, of equal
 * ones the best. A wildcard is no promise to know AVIF: browsers that do not send one, too. What accepts none of
 * them gets one nevertheless, as 12.5.1 allows: an image that it may show is better than a 406.
 *
 * @param types media types without parameters, at least one
 * @returns one of `types`
 */
export function negotiateType(types: readonly string[], accept: string | undefined): string {
  const weights = parseAccept(accept ?? '*/*');
  const weightOf = (type: string): number => {
    const exact = weights.get(type);
    if (exact !== undefined || type === 'image/avif') return exact ?? 0;
    return weights.get(`${type.split('/', 1)[0]}/*`) ?? weights.get('*/*') ?? 0;
  };
  const byPreference = types.toSorted((a, b) => rankOf(a) - rankOf(b));
  let best: string | undefined;
  for (const type of byPreference) {
    if (weightOf(type) > (best === undefined ? 0 : weightOf(best))) best = type;
  }
  return best ?? SAFE_TYPES.find((safe) => types.includes(safe)) ?? (types[0] as string);
}

function rankOf(type: string): number {
  const rank = PREFERENCE.indexOf(type);
  return rank === -1 ? PREFERENCE.length : rank;
}

/** Weights by media range, without other parameters. What cannot be read is left out. */
function parseAccept(accept: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const member of accept.split(',')) {
    const [range = '', ...parameters] = member.split(';').map((part) => part.trim().toLowerCase());
    const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    const value = weight === undefined ? 1 : Number(weight);
    if (range !== '' && value >= 0 && value <= 1) weights.set(range, value);
  }
  return weights;
}
