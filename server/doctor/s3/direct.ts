import { createSigningClient } from '../../../stores/s3/client-config.ts';
import { createDirectSigner } from '../../../stores/s3/direct-signer.ts';
import { type Check, type Finding, ok, warn } from '../types.ts';
import type { S3Probe } from './probe.ts';

const EXPIRES_MS = 60_000;
const TIMEOUT_MS = 20_000;
const BODY = Buffer.from('straight to the bucket');

/**
 * What browsers do that upload straight to the bucket, done as they do it: at the address that they know, with what
 * the server would sign for them.
 */
export function directCheck(probe: S3Probe): Check {
  const { config, bucket, prefix, profile } = probe;

  return {
    name: 'direct',
    async run() {
      const client = createSigningClient({ ...config, bucket });
      const signer = createDirectSigner({ client, bucket, sse: config.sse, sseKmsKeyId: config.sseKmsKeyId });
      const send = async (url: string, init: RequestInit) => {
        const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
        await answer.body?.cancel();
        return answer.status;
      };
      const put = async (declaredBytes: number) => {
        probe.remember(`${prefix}direct-put`);
        const { url, headers } = await signer.put(`${prefix}direct-put`, declaredBytes, EXPIRES_MS);
        return send(url, { method: 'PUT', headers, body: BODY });
      };
      const post = async (maxBytes: number) => {
        probe.remember(`${prefix}direct-form`);
        const range = { minBytes: 0, maxBytes };
        const { url, fields } = await signer.form(`${prefix}direct-form`, range, EXPIRES_MS);
        const form = new FormData();
        for (const [name, value] of Object.entries(fields)) form.set(name, value);
        form.set('file', new Blob([BODY]));
        return send(url, { method: 'POST', body: form });
      };

      try {
        const right = await put(BODY.length);
        const wrong = await put(BODY.length + 1);
        const findings = judgeLengths(right, wrong);
        if (profile.hasForms)
          findings.push(...judgeForms(await post(BODY.length), await post(BODY.length - 1)));
        return findings.length > 0
          ? findings
          : [ok('Browsers can send to the bucket, and no more than was signed.')];
      } catch (error) {
        const where = new URL((await signer.put(prefix, 0, EXPIRES_MS)).url).origin;
        const reason = error instanceof Error ? error.message : String(error);
        return [
          warn(
            `${where}, where browsers are sent to, cannot be reached from here (${reason}).`,
            'Set LANDFALL_S3_PUBLIC_ENDPOINT to the address that browsers know, or LANDFALL_DIRECT=off.',
          ),
        ];
      } finally {
        client.destroy();
      }
    },
  };
}

function judgeLengths(right: number, wrong: number): Finding[] {
  if (right >= 300) {
    return [
      warn(
        `A presigned PUT whose length is signed is answered ${right}.`,
        'Set LANDFALL_DIRECT=off: this service does not take what browsers would send.',
      ),
    ];
  }
  if (wrong >= 300) return [];
  return [
    warn(
      'The service takes another length than the one that was signed: how much a browser sends is seen only afterwards.',
      'Keep LANDFALL_EXPIRATION short, so that what is too large does not lie around for long.',
    ),
  ];
}

function judgeForms(right: number, tooLong: number): Finding[] {
  const advice = 'Send small files in parts, too (in Uppy: shouldUseMultipart: true).';
  if (right >= 300)
    return [warn(`A form with a policy is answered ${right}: Uppy's small files fail.`, advice)];
  if (tooLong >= 300) return [];
  return [warn('The service takes forms with more bytes than their policy allows.', advice)];
}
