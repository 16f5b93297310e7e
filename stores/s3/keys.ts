import { isUploadId } from '../upload-id.ts';
import { parseTailName, type Tail } from './grid.ts';

/**
 * The names of an upload's objects: `<prefix><id>` the original, `<prefix><id>.info` what is known about it,
 * `<prefix><id>.tail/<base>-<length>-<hash>` bytes that do not fill a part yet, and `<prefix><id>.direct` what a client
 * has sent there in one piece and nobody has checked yet. An id never contains a dot or a
 * slash, so no id can name another's objects; only keys that parse here are ever deleted.
 */
export interface UploadKeys {
  readonly prefix: string;
  original(id: string): string;
  info(id: string): string;
  tail(id: string, name: string): string;
  staged(id: string): string;
  /** Prefix of all tails of one upload. */
  tails(id: string): string;
  /** The id, if the key is an info object's. */
  parseInfo(key: string): string | undefined;
  /** The id, if the key is an original's. */
  parseOriginal(key: string): string | undefined;
  /** The id, if the key is that of a staged object. */
  parseStaged(key: string): string | undefined;
  /** The id, if the key is the prefix of an upload's tails. */
  parseTails(key: string): string | undefined;
  /** The tail, if the key is one of this upload's. */
  parseTail(id: string, key: string): Tail | undefined;
}

const INFO_SUFFIX = '.info';
const STAGED_SUFFIX = '.direct';

export function createUploadKeys(prefix: string): UploadKeys {
  const tails = (id: string) => `${prefix}${id}.tail/`;
  const idBefore = (suffix: string, key: string) => {
    if (!key.startsWith(prefix) || !key.endsWith(suffix)) return undefined;
    const id = key.slice(prefix.length, key.length - suffix.length);
    return isUploadId(id) ? id : undefined;
  };
  return {
    prefix,
    original: (id) => prefix + id,
    info: (id) => prefix + id + INFO_SUFFIX,
    tail: (id, name) => tails(id) + name,
    tails,
    staged: (id) => prefix + id + STAGED_SUFFIX,
    parseInfo: (key) => idBefore(INFO_SUFFIX, key),
    parseOriginal: (key) => idBefore('', key),
    parseStaged: (key) => idBefore(STAGED_SUFFIX, key),
    parseTails: (key) => idBefore('.tail/', key),
    parseTail(id, key) {
      return key.startsWith(tails(id)) ? parseTailName(key.slice(tails(id).length)) : undefined;
    },
  };
}
