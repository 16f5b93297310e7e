import type http from 'node:http';
import { ClientError } from './errors.ts';
import { openReply, readText } from './http.ts';
import type { Session } from './options.ts';
import { expectStatus } from './tus-requests.ts';

const MAX_REDIRECTS = 3;

/**
 * Asks for what is missing of a download: the answer is a 200 (all of it), a 206 (from `have.size` on), or a 416.
 *
 * @throws ClientError
 */
export async function openDownloadReply(
  session: Session,
  url: string,
  have: { size: number; etag: string | undefined },
): Promise<http.IncomingMessage> {
  // If-Range: of something else that is there now, all of it comes.
  const range: Record<string, string> =
    have.size > 0 && have.etag !== undefined ? { Range: `bytes=${have.size}-`, 'If-Range': have.etag } : {};
  let address = url;
  for (let redirects = 0; ; redirects++) {
    const isElsewhere = new URL(address).origin !== new URL(url).origin;
    // A bucket that a presigned address leads to is not told our token, and refuses requests that have one.
    const connection = isElsewhere ? { ...session.connection, headers: {} } : session.connection;
    const res = await openReply(connection, { method: 'GET', url: address, headers: range });
    const status = res.statusCode ?? 0;
    if ([200, 206, 416].includes(status)) return res;
    const { location } = res.headers;
    if (status >= 301 && status <= 308 && location !== undefined && redirects < MAX_REDIRECTS) {
      res.resume();
      address = new URL(location, address).href;
      continue;
    }
    const body = await readText(res);
    if (status === 202) {
      throw new ClientError('refused', 'the server is still working on it', {
        status,
        isRetryable: true,
        retryAfterMs: Number(res.headers['retry-after'] ?? 1) * 1000,
      });
    }
    expectStatus({ status, headers: res.headers, body }, 'download it', 200);
  }
}
