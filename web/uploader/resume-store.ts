import { fieldsOf } from './http.ts';

/** An unfinished direct upload, as it is remembered across page loads. */
export interface KeptUpload {
  key: string;
  /** Of the multipart upload; it is an address, not a secret of the bucket. */
  uploadId: string;
  /** Landfall's id of it. */
  id: string;
  partBytes: number;
  keptAtMs: number;
}

/** The part of localStorage that is used here. */
export type KeyValueStorage = Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>;

export interface ResumeStore {
  get(fingerprint: string): KeptUpload | undefined;
  keep(fingerprint: string, upload: KeptUpload): void;
  forget(fingerprint: string): void;
}

const PREFIX = 'landfall:direct:';
/** A server that keeps unfinished uploads for longer is rare; one that does not says so when it is asked. */
const LIFETIME_MS = 7 * 24 * 3600 * 1000;

/**
 * What is known about unfinished direct uploads, by the fingerprint of their files. (tus-js-client keeps its own, as
 * `tus::…`.) Storage may be full, forbidden or undefined: then nothing is remembered, and nothing breaks.
 */
export function createResumeStore(storage: KeyValueStorage | undefined, nowMs = Date.now): ResumeStore {
  const attempt = <T>(action: (storage: KeyValueStorage) => T): T | undefined => {
    try {
      return storage === undefined ? undefined : action(storage);
    } catch {
      return undefined;
    }
  };
  const read = (key: string): KeptUpload | undefined => {
    const kept = attempt((storage) => parseKept(JSON.parse(storage.getItem(key) ?? 'null')));
    return kept !== undefined && nowMs() - kept.keptAtMs < LIFETIME_MS ? kept : undefined;
  };
  attempt((storage) => {
    const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? '');
    for (const key of keys) {
      if (key.startsWith(PREFIX) && read(key) === undefined) storage.removeItem(key);
    }
  });
  return {
    get: (fingerprint) => read(PREFIX + fingerprint),
    keep: (fingerprint, upload) =>
      void attempt((storage) => storage.setItem(PREFIX + fingerprint, JSON.stringify(upload))),
    forget: (fingerprint) => void attempt((storage) => storage.removeItem(PREFIX + fingerprint)),
  };
}

function parseKept(value: unknown): KeptUpload | undefined {
  const { key, uploadId, id, partBytes, keptAtMs } = fieldsOf(value);
  if (typeof key !== 'string' || typeof uploadId !== 'string' || typeof id !== 'string') return undefined;
  if (typeof partBytes !== 'number' || typeof keptAtMs !== 'number') return undefined;
  return { key, uploadId, id, partBytes, keptAtMs };
}
