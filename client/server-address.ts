import { ClientError } from './errors.ts';

/** Where one server's things are; every address absolute and without a slash at its end. */
export interface ServerAddress {
  /** The server itself, with the path in front of it where a proxy has put one. */
  root: string;
  /** Where uploads are created and found. */
  files: string;
}

const DEFAULT_BASE_PATH = '/files';

/**
 * Reads a server's address as people write it: the server's root, or where it takes uploads.
 *
 * @param server `http://127.0.0.1:1080`, `https://example.com/landfall`, `https://example.com/files`
 * @param basePath where the server takes uploads, if that is not `/files` (LANDFALL_BASE_PATH)
 * @throws ClientError refused
 */
export function parseServer(server: string, basePath = DEFAULT_BASE_PATH): ServerAddress {
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new ClientError(
      'refused',
      `"${server}" is not the address of a server, such as http://127.0.0.1:1080`,
    );
  }
  const base = `/${basePath.replace(/^\/+|\/+$/g, '')}`;
  const path = url.pathname.replace(/\/+$/, '');
  const prefix = path.endsWith(base) ? path.slice(0, -base.length) : path;
  const root = `${url.origin}${prefix}`;
  return { root, files: `${root}${base}` };
}

/** The id of an upload, given itself or as the upload's address. */
export function uploadIdOf(idOrUrl: string): string {
  const last =
    idOrUrl
      .replace(/[?#].*$/, '')
      .replace(/\/+$/, '')
      .split('/')
      .at(-1) ?? '';
  return decodeURIComponent(last);
}

/** The address of an upload, given itself or by its id. */
export function uploadUrlOf(address: ServerAddress, idOrUrl: string): string {
  return URL.canParse(idOrUrl) ? idOrUrl : `${address.files}/${encodeURIComponent(idOrUrl)}`;
}
