import { CreateMultipartUploadCommand, GetObjectTaggingCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { type Check, ok, warn } from '../types.ts';
import { failureCode } from './explain-failure.ts';
import type { S3Probe } from './probe.ts';

/** Tags decide nothing here: uploads work without. Whoever sorts objects by tags wants to know. */
export function tagsCheck({ client, bucket, prefix, port, profile, remember, config }: S3Probe): Check {
  const Tagging = 'landfall=doctor';
  const isTagged = async (Key: string) => {
    const { TagSet = [] } = await client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key }));
    return TagSet.some(({ Key: name, Value }) => name === 'landfall' && Value === 'doctor');
  };

  async function putOne(): Promise<boolean> {
    const Key = `${prefix}tagged`;
    remember(Key);
    await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'tagged', Tagging }));
    return isTagged(Key);
  }

  async function uploadOne(): Promise<boolean> {
    const Key = `${prefix}tagged-multipart`;
    const { UploadId = '' } = await client.send(
      new CreateMultipartUploadCommand({ Bucket: bucket, Key, Tagging }),
    );
    remember(Key);
    remember(Key, UploadId);
    await port.uploadPart(Key, UploadId, 1, Buffer.from('tagged'));
    await port.completeMultipartUpload(Key, UploadId, (await port.listParts(Key, UploadId, 0)).parts);
    return isTagged(Key);
  }

  return {
    name: 'tags',
    async run() {
      let reason = '';
      const attempt = (run: () => Promise<boolean>) =>
        run().catch((error: unknown) => {
          reason = ` (${failureCode(error)})`;
          return false;
        });
      const isKeptOnPut = await attempt(putOne);
      const isKeptOnMultipart = await attempt(uploadOne);
      if (isKeptOnPut && isKeptOnMultipart) return [ok('Tags are kept, on multipart uploads too.')];
      const dropped = isKeptOnPut ? 'on multipart uploads' : `on objects${reason}`;
      if (!profile.hasTags || isKeptOnPut) {
        return [
          ok(
            `Tags are not kept ${dropped}. Landfall needs none; lifecycle rules by tag would match nothing.`,
          ),
        ];
      }
      return [
        warn(
          `Tags are not kept ${dropped}, which LANDFALL_S3_PROVIDER=${config.provider} counts on.`,
          'Allow s3:PutObjectTagging and s3:GetObjectTagging, or set LANDFALL_S3_PROVIDER=generic.',
        ),
      ];
    },
  };
}
