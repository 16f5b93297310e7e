import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DeleteBucketCommand, HeadBucketCommand } from '@aws-sdk/client-s3';
import { expect, inject, test } from 'vitest';
import { parseCompose } from '../support/parse-compose.ts';
import { openTestBucket } from '../support/s3-bucket.ts';

const root = join(import.meta.dirname, '../..');

test('the service of docker-compose.yml that makes the bucket does so, and leaves one alone that is there', async () => {
  const service = inject('s3');
  const shared = openTestBucket(service);
  const text = readFileSync(join(root, 'docker-compose.yml'), 'utf8');
  const { bucket } = parseCompose(text, { S3_SECRET_KEY: service.secretAccessKey }).services;
  const [program, ...args] = bucket?.command ?? [];
  expect(program).toBe('node');
  const name = `compose-${randomBytes(6).toString('hex')}`;
  const make = (secret: string) =>
    spawnSync(process.execPath, args, {
      cwd: root,
      encoding: 'utf8',
      env: {
        PATH: process.env.PATH,
        S3_ENDPOINT: service.endpoint,
        S3_BUCKET: name,
        AWS_ACCESS_KEY_ID: service.accessKeyId,
        AWS_SECRET_ACCESS_KEY: secret,
      },
    });
  try {
    // With wrong keys it has to fail, so that it is started again and nobody begins without a bucket.
    expect(make('wrong').status).not.toBe(0);
    for (let round = 1; round <= 2; round += 1) {
      const { status, stderr } = make(service.secretAccessKey);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      await shared.client.send(new HeadBucketCommand({ Bucket: name }));
    }
  } finally {
    await shared.client.send(new DeleteBucketCommand({ Bucket: name })).catch(() => undefined);
    await shared.close();
  }
});
