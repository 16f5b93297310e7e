import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ClientError } from './errors.ts';

/** Something to upload that can be read at any place, again and again: what makes resuming possible. */
export interface UploadSource {
  /** Bytes. */
  readonly size: number;
  /** What the upload is called, where nobody says otherwise. */
  readonly name: string | undefined;
  /** Where a thread of its own can read the same; undefined: nowhere. */
  readonly filePath: string | undefined;
  /** Undefined: nothing to know it again by in another run. */
  readonly identity: SourceIdentity | undefined;
  /** Fills `target` from `position` on; resolves with how much of it was filled, 0 only at the end. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Throws source_changed when it is not what it was when it was opened. */
  checkUnchanged(): Promise<void>;
  close(): Promise<void>;
}

/** What a file is known by in another run: a changed one is another one. */
export interface SourceIdentity {
  /** Absolute, without links. */
  path: string;
  size: number;
  /** Nanoseconds, in decimal. */
  modifiedNs: string;
}

export function isSameSource(one: SourceIdentity, other: SourceIdentity): boolean {
  return one.path === other.path && one.size === other.size && one.modifiedNs === other.modifiedNs;
}

/** @throws ClientError source_unreadable */
export async function openFileSource(pathOrUrl: string | URL): Promise<UploadSource> {
  const given = pathOrUrl instanceof URL ? fileURLToPath(pathOrUrl) : pathOrUrl;
  let handle: FileHandle | undefined;
  try {
    const path = await realpath(given);
    // Opening a pipe that nobody writes to would wait for ever.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile())
      throw new Error(stats.isDirectory() ? 'it is a directory' : 'it is not a regular file');
    const identity = { path, size: Number(stats.size), modifiedNs: String(stats.mtimeNs) };
    return fileSource(handle, basename(given), identity);
  } catch (error) {
    await handle?.close();
    throw unreadable(given, error);
  }
}

function fileSource(handle: FileHandle, name: string, identity: SourceIdentity): UploadSource {
  return {
    size: identity.size,
    name,
    filePath: identity.path,
    identity,
    async read(target, position) {
      try {
        // A file that grows meanwhile must not become longer than was announced.
        const length = Math.min(target.length, identity.size - position);
        return (await handle.read(target, 0, length, position)).bytesRead;
      } catch (error) {
        throw unreadable(identity.path, error);
      }
    },
    async checkUnchanged() {
      const stats = await handle.stat({ bigint: true });
      if (Number(stats.size) !== identity.size || String(stats.mtimeNs) !== identity.modifiedNs) {
        throw new ClientError('source_changed', `${identity.path} was changed while it was uploaded`);
      }
    },
    close: () => handle.close(),
  };
}

/** Bytes in memory. */
export function bytesSource(bytes: Uint8Array): UploadSource {
  return {
    size: bytes.length,
    name: undefined,
    filePath: undefined,
    identity: undefined,
    async read(target, position) {
      const piece = bytes.subarray(position, position + target.length);
      target.set(piece);
      return piece.length;
    },
    async checkUnchanged() {},
    async close() {},
  };
}

function unreadable(path: string, error: unknown): ClientError {
  if (error instanceof ClientError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const reason =
    code === 'ENOENT'
      ? 'there is no such file'
      : code === 'EACCES'
        ? 'you may not read it'
        : error instanceof Error
          ? error.message
          : String(error);
  return new ClientError('source_unreadable', `${path}: ${reason}`, { cause: error });
}
