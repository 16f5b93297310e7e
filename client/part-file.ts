import { createHash } from 'node:crypto';
import { type FileHandle, open, readFile, rename, writeFile } from 'node:fs/promises';
import { ClientError } from './errors.ts';
import { isMissing, removeFile } from './remove-file.ts';

/** A download that is not complete: `<path>.part`, and `<path>.part.json`, which says what it is a part of. */
export interface PartFile {
  readonly size: number;
  readonly etag: string | undefined;
  restart(etag: string | undefined): Promise<void>;
  write(bytes: Buffer): Promise<void>;
  /** Of what the file has, read back from it. */
  sha256(): Promise<string>;
  /** Durable, under its own name. */
  finish(): Promise<void>;
  discard(): Promise<void>;
  close(): Promise<void>;
}

interface PartNote {
  url: string;
  etag: string;
}

/** @throws ClientError target_unwritable */
export async function openPartFile(path: string, url: string): Promise<PartFile> {
  const partPath = `${path}.part`;
  const notePath = `${partPath}.json`;
  const note = await readNote(notePath);
  let file: FileHandle;
  try {
    // Never cut short before it is known that its bytes are of no use.
    file = await open(partPath, 'a+', 0o666).then(async (created) => {
      await created.close();
      return open(partPath, 'r+');
    });
  } catch (error) {
    throw unwritable(partPath, error);
  }
  let size = (await file.stat()).size;
  let etag = note?.url === url ? note.etag : undefined;

  const part: PartFile = {
    get size() {
      return size;
    },
    get etag() {
      return etag;
    },
    async restart(newEtag) {
      try {
        await removeFile(notePath);
        await file.truncate(0);
        size = 0;
        etag = newEtag;
        if (etag !== undefined) await writeFile(notePath, JSON.stringify({ url, etag } satisfies PartNote));
      } catch (error) {
        throw unwritable(partPath, error);
      }
    },
    async write(bytes) {
      try {
        for (let at = 0; at < bytes.length; ) {
          at += (await file.write(bytes, at, bytes.length - at, size + at)).bytesWritten;
        }
        size += bytes.length;
      } catch (error) {
        throw unwritable(partPath, error);
      }
    },
    async sha256() {
      const hash = createHash('sha256');
      const buffer = Buffer.allocUnsafe(1024 * 1024);
      for (let position = 0; ; ) {
        const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
        if (bytesRead === 0) return hash.digest('hex');
        hash.update(buffer.subarray(0, bytesRead));
        position += bytesRead;
      }
    },
    async finish() {
      try {
        await file.sync();
        await rename(partPath, path);
        await removeFile(notePath);
      } catch (error) {
        throw unwritable(path, error);
      }
    },
    async discard() {
      await removeFile(notePath);
      await removeFile(partPath);
    },
    close: () => file.close(),
  };
  if (size > 0 && etag === undefined) await part.restart(undefined);
  return part;
}

/** Undefined: there is none, or a crash cut it short. */
async function readNote(path: string): Promise<PartNote | undefined> {
  try {
    const { url, etag } = JSON.parse(await readFile(path, 'utf8')) as Partial<PartNote>;
    return typeof url === 'string' && typeof etag === 'string' ? { url, etag } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || isMissing(error)) return undefined;
    throw unwritable(path, error);
  }
}

function unwritable(path: string, error: unknown): ClientError {
  const reason = error instanceof Error ? error.message : String(error);
  return new ClientError('target_unwritable', `${path}: ${reason}`, { cause: error });
}
