import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClientError } from './errors.ts';
import { isMissing, removeFile } from './remove-file.ts';
import type { SourceIdentity } from './source.ts';

/**
 * What is remembered of an unfinished upload, so that another run can go on with it: where its bytes went, never how
 * many of them arrived. That is what the server is asked for.
 */
export interface UnfinishedUpload {
  /** The server that has it, and where it takes uploads. */
  root: string;
  files: string;
  source: SourceIdentity;
  metadata: Record<string, string>;
  chunkSizeBytes: number;
  /** One: an upload as it is. More: partial uploads, of which a final one is made. None: it is a direct one. */
  parts: PartialUpload[];
  /** Null: its bytes go through the server, by tus. */
  direct: DirectTicket | null;
  /** Whether the SHA-256 is to be declared. */
  hasChecksum: boolean;
  /** ISO 8601 */
  startedAt: string;
}

/** What every request for an upload that goes straight to the bucket needs. */
export interface DirectTicket {
  /** The upload's id at the server. */
  id: string;
  /** The capability to it, which stands in the place of S3's own upload id. */
  token: string;
  key: string;
  /** Bytes of every part but the last. */
  partSizeBytes: number;
}

/** Bytes `start` to `end` (exclusive) of the source. */
export interface PartialUpload {
  start: number;
  end: number;
  /** Null: not created yet. */
  url: string | null;
}

/** Where unfinished uploads are remembered, one for each server and file. */
export interface ResumeStore {
  /** Takes the sole right to upload this file there; rejects with in_use while another process has it. */
  claim(files: string, path: string): Promise<ResumeClaim>;
  list(): Promise<UnfinishedUpload[]>;
}

export interface ResumeClaim {
  load(): Promise<UnfinishedUpload | undefined>;
  save(upload: UnfinishedUpload): Promise<void>;
  remove(): Promise<void>;
  release(): Promise<void>;
}

const VERSION = 1;
const HEARTBEAT_MS = 10_000;
/** A claim that was not touched for so long is left over, whatever the process of that number is now. */
const CLAIM_LIFE_MS = 60_000;
const CLAIM_TRIES = 5;

/**
 * Remembers in a directory, which many processes may use at once:
 *
 * - `<key>.json` is one unfinished upload; it is written beside its place and renamed into it, so that a crash leaves
 *   the old one or the new one.
 * - `<key>.<host>.<pid>.<random>.claim` says that a process works on it. Every claim has a name of its own and belongs
 *   to one process, so removing a dead one can never hit a live one. Whoever sees another live claim beside his own
 *   gives way; two that see each other both do, and try again.
 */
export function createResumeStore(directory: string): ResumeStore {
  return {
    async claim(files, path) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const key = keyOf(files, path);
      const claimPath = await takeClaim(directory, key, path);
      const heartbeat = setInterval(() => {
        const now = new Date();
        utimes(claimPath, now, now).catch(() => {}); // removed by hand: nothing depends on it but others' waiting
      }, HEARTBEAT_MS);
      heartbeat.unref();
      const entryPath = join(directory, `${key}.json`);
      return {
        load: () => readEntry(entryPath),
        async save(upload) {
          const temporary = `${entryPath}.${randomBytes(6).toString('hex')}.tmp`;
          const text = JSON.stringify({ version: VERSION, ...upload }, undefined, 2);
          await writeFile(temporary, `${text}\n`, { mode: 0o600, flush: true });
          await rename(temporary, entryPath);
        },
        remove: () => removeFile(entryPath),
        async release() {
          clearInterval(heartbeat);
          await removeFile(claimPath);
        },
      };
    },

    async list() {
      const names = (await listNames(directory)).filter((name) => name.endsWith('.json'));
      const entries = await Promise.all(names.map((name) => readEntry(join(directory, name))));
      return entries
        .filter((entry) => entry !== undefined)
        .sort((one, other) => one.startedAt.localeCompare(other.startedAt));
    },
  };
}

/** Remembers nothing. */
export function createForgetfulStore(): ResumeStore {
  const claim: ResumeClaim = {
    load: async () => undefined,
    save: async () => {},
    remove: async () => {},
    release: async () => {},
  };
  return { claim: async () => claim, list: async () => [] };
}

function keyOf(files: string, path: string): string {
  return createHash('sha256').update(`${files}\n${path}`).digest('hex').slice(0, 32);
}

async function takeClaim(directory: string, key: string, path: string): Promise<string> {
  const host = hostname().replace(/[^A-Za-z0-9-]/g, '-');
  const name = `${key}.${host}.${process.pid}.${randomBytes(6).toString('hex')}.claim`;
  const claimPath = join(directory, name);
  for (let tries = 1; ; tries++) {
    await writeFile(claimPath, '');
    const rivals: string[] = [];
    for (const other of await listNames(directory)) {
      if (other === name || !other.startsWith(`${key}.`) || !other.endsWith('.claim')) continue;
      if (await isAlive(directory, other, host)) rivals.push(other);
      else await removeFile(join(directory, other));
    }
    if (rivals.length === 0) return claimPath;
    await removeFile(claimPath);
    if (tries === CLAIM_TRIES) {
      const pid = rivals[0]?.split('.')[2];
      throw new ClientError('in_use', `${path} is being uploaded already, by process ${pid}`);
    }
    await sleep(Math.random() * 50 * tries);
  }
}

async function isAlive(directory: string, name: string, host: string): Promise<boolean> {
  const [, claimHost, pid] = name.split('.');
  const touchedAtMs = await stat(join(directory, name)).then(
    (stats) => stats.mtimeMs,
    () => 0,
  );
  if (Date.now() - touchedAtMs > CLAIM_LIFE_MS) return false;
  if (claimHost !== host) return true;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Undefined: there is none, or it is of another version, or somebody has damaged it. */
async function readEntry(path: string): Promise<UnfinishedUpload | undefined> {
  try {
    const { version, ...entry } = JSON.parse(await readFile(path, 'utf8')) as UnfinishedUpload & {
      version: unknown;
    };
    return version === VERSION ? entry : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || isMissing(error)) return undefined;
    throw error;
  }
}

async function listNames(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
}
