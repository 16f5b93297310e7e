import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { type Check, fail, ok } from '../types.ts';
import { failureCode } from './explain-failure.ts';
import type { S3Probe } from './probe.ts';

const MODES = ['WHEN_REQUIRED', 'WHEN_SUPPORTED'] as const;
const BODY_BYTES = 100_003;

/** The SDK can add checksums of its own, in a form that older services store as if it were part of the body. */
export function checksumsCheck({ openClient, bucket, prefix, profile, config, remember }: S3Probe): Check {
  /** Undefined when bodies come back as they were sent, in one piece and as a stream. */
  async function problemWith(mode: (typeof MODES)[number]): Promise<string | undefined> {
    const client = openClient(mode);
    const body = randomBytes(BODY_BYTES);
    for (const form of ['buffer', 'stream'] as const) {
      const Key = `${prefix}checksum-${mode.toLowerCase()}-${form}`;
      remember(Key);
      const Body =
        form === 'buffer' ? body : Readable.from([body.subarray(0, 50_000), body.subarray(50_000)]);
      try {
        await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body, ContentLength: BODY_BYTES }));
        const stored = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
        const bytes = Buffer.from((await stored.Body?.transformToByteArray()) ?? []);
        if (!bytes.equals(body)) return 'bodies are not stored as they were sent';
      } catch (error) {
        return failureCode(error);
      }
    }
    return undefined;
  }

  return {
    name: 'checksums',
    async run() {
      const problems = new Map<string, string | undefined>();
      for (const mode of MODES) problems.set(mode, await problemWith(mode));
      const problem = problems.get(profile.checksums);
      const working = MODES.filter((mode) => problems.get(mode) === undefined);
      if (problem !== undefined) {
        return [
          fail(
            `The SDK's checksum mode ${profile.checksums}, which LANDFALL_S3_PROVIDER=${config.provider} sets, does not work here: ${problem}.`,
            working.length > 0
              ? `Choose a LANDFALL_S3_PROVIDER whose mode is ${working.join(' or ')}, such as generic.`
              : 'Look for a proxy that changes requests.',
          ),
        ];
      }
      const others = MODES.filter((mode) => mode !== profile.checksums).map(
        (mode) =>
          `${mode} ${problems.get(mode) === undefined ? 'would work too' : `would not (${problems.get(mode)})`}`,
      );
      return [ok(`Checksum mode ${profile.checksums} works; ${others.join(', ')}.`)];
    },
  };
}
