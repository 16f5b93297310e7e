import { type Check, type Finding, fail, ok, warn } from '../types.ts';
import { explainS3Failure } from './explain-failure.ts';
import { presign } from './presign.ts';
import type { S3Probe } from './probe.ts';

const LIFETIME_SECONDS = 60;
const TIMEOUT_MS = 20_000;
const HOUR_MS = 3_600_000;

/** Presigned URLs: what a browser needs to talk to the bucket itself. Without them, this server passes bytes on. */
export function presignedCheck({ port, client, config, prefix, answers }: S3Probe): Check {
  async function sign(method: 'GET' | 'PUT', query: Record<string, string>, atMs = Date.now()): Promise<URL> {
    const { accessKeyId, secretAccessKey, sessionToken } = await client.config.credentials();
    // The address that the SDK itself used a moment ago: host name or path style, as configured.
    const url = new URL(answers.at(-1)?.url ?? '');
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const { region } = config;
    return presign({
      method,
      url,
      region,
      accessKeyId,
      secretAccessKey,
      sessionToken,
      atMs,
      expiresSeconds: LIFETIME_SECONDS,
    });
  }
  const send = (url: URL, init: RequestInit = {}) =>
    fetch(url, { ...init, redirect: 'manual', signal: AbortSignal.timeout(TIMEOUT_MS) });
  const absent = (why: string): Finding =>
    warn(
      `${why} Browsers cannot send bytes straight to the bucket: they go through this server, which works as well.`,
      'Nothing, unless you want direct uploads: then let the service accept AWS Signature Version 4 in the query.',
    );

  return {
    name: 'presigned',
    async run() {
      const body = Buffer.from('by a signed address');
      const key = `${prefix}presigned`;
      let multipartId: string;
      try {
        await port.putObject({ key, body });
        const got = await send(await sign('GET', {}));
        const received = Buffer.from(await got.arrayBuffer());
        if (got.status !== 200 || !received.equals(body))
          return [absent(`A presigned GET is answered ${got.status}.`)];
        const late = await send(await sign('GET', {}, Date.now() - HOUR_MS));
        await late.body?.cancel();
        if (late.status < 400) {
          return [
            fail(
              'The service honours presigned URLs that have expired, or does not check signatures at all.',
              'Switch its authentication on: anybody who can reach it can read the bucket.',
            ),
          ];
        }
        ({ multipartId } = await port.createMultipartUpload(key, {}));
      } catch (error) {
        return [explainS3Failure(error, { doing: 'Using a presigned URL', permission: 's3:GetObject' })];
      }
      try {
        await port.listParts(key, multipartId, 0);
        const put = await send(await sign('PUT', { partNumber: '1', uploadId: multipartId }), {
          method: 'PUT',
          body,
        });
        await put.body?.cancel();
        if (put.status !== 200) return [absent(`A presigned PUT of a part is answered ${put.status}.`)];
        const { parts } = await port.listParts(key, multipartId, 0);
        if (parts[0]?.size !== body.length)
          return [absent('A part that was sent to a presigned URL is not stored.')];
        return [ok('Presigned URLs work for reading and for parts, and expire.')];
      } finally {
        await port.abortMultipartUpload(key, multipartId).catch(() => undefined);
      }
    },
  };
}
