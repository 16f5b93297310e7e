import { realpath } from 'node:fs/promises';
import type { ConnectionOptions } from '../client/options.ts';
import type { UnfinishedUpload } from '../client/resume-store.ts';
import { parseServer, uploadIdOf } from '../client/server-address.ts';

/** Those of a file, or the one that has this id (or a part with it). */
export async function matching(
  unfinished: readonly UnfinishedUpload[],
  what: string,
): Promise<UnfinishedUpload[]> {
  const path = await realpath(what).catch(() => undefined);
  const id = uploadIdOf(what);
  return unfinished.filter(
    ({ source, parts, direct }) =>
      source.path === path ||
      direct?.id === id ||
      parts.some(({ url }) => url !== null && uploadIdOf(url) === id),
  );
}

/** A token is for the server that it was given for, and for no other that an upload was begun on. */
export function ownServer(
  connection: ConnectionOptions,
  { root, files }: UnfinishedUpload,
): ConnectionOptions {
  const { root: given } = parseServer(connection.server, connection.basePath);
  return given === root
    ? connection
    : { ...connection, server: root, basePath: files.slice(root.length), token: undefined };
}
