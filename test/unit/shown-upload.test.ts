import { expect, test } from 'vitest';
import type { ShownUpload } from '../../client/shown-upload.ts';
import { presentUpload } from '../../server/uploads/present-upload.ts';
import { newUploadRecord } from '../../stores/catalog/types.ts';
import type { MediaInfo } from '../../stores/media-info.ts';

const links = { urlOf: ({ id }: { id: string }) => `/media/${id}`, expiresAt: null };
const record = newUploadRecord({ id: 'an-upload', size: 10, rawMetadata: null, createdAtMs: 0 });

/* The type checker compares what the server shows with what clients read: neither may import the other. */

test('an upload of which nothing is known is what clients read', () => {
  const shown: ShownUpload = presentUpload(record, '/files', links);
  expect(shown).toMatchObject({
    url: '/files/an-upload',
    media: null,
    reason: null,
    createdAt: '1970-01-01T00:00:00.000Z',
    receivedAt: null,
  });
});

test('an upload with previews is what clients read', () => {
  const media: MediaInfo = {
    type: 'image/png',
    width: 3,
    placeholder: '1QcSHQRnh493V4dIh4eXh1h4kJUI',
    previews: [{ variant: 'thumb', name: 'thumb.webp', contentType: 'image/webp', size: 5 }],
    missing: null,
  };
  const shown: ShownUpload = presentUpload({ ...record, media: JSON.stringify(media) }, '/files', links);
  expect(shown.media).toMatchObject({
    width: 3,
    pages: null,
    placeholder: media.placeholder,
    processing: null,
    previews: [{ variant: 'thumb', size: 5, url: '/media/an-upload' }],
  });
});
