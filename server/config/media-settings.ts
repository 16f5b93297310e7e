import { httpUrlKind } from './addresses.ts';
import { duration, oneOf, onOff, text } from './kinds.ts';
import type { Setting } from './setting.ts';
import { optional, setting } from './setting.ts';

const SECOND = 1000;
const DAY = 24 * 3600 * SECOND;

/** How originals and previews are served, and how browsers reach the bucket. */
export const MEDIA_SETTINGS = {
  mediaAccess: setting({
    env: 'LANDFALL_MEDIA_ACCESS',
    yaml: 'media.access',
    section: 'media',
    kind: oneOf('public', 'signed'),
    default: 'public',
    description:
      "Who may read `/media/:id`: whoever knows the upload's unguessable id, or only who has a signed URL.",
  }),
  signingKey: optional({
    env: 'LANDFALL_SIGNING_KEY',
    yaml: 'signingKey',
    section: 'media',
    kind: text('32 to 512 visible ASCII characters', /^[\x21-\x7e]{32,512}$/),
    unset: 'one that is made once and kept in the data directory',
    description: 'What signed URLs are signed with; the same in every process that shares a bucket.',
    isSecret: true,
  }),
  mediaUrlExpiryMs: setting({
    env: 'LANDFALL_MEDIA_URL_EXPIRY',
    yaml: 'media.urlExpiry',
    section: 'media',
    kind: duration(SECOND, 7 * DAY),
    default: '1h',
    description: 'How long signed and presigned URLs of media live.',
  }),
  mediaRedirect: setting({
    env: 'LANDFALL_MEDIA_REDIRECT',
    yaml: 'media.redirect',
    section: 'media',
    kind: oneOf('off', 'presigned'),
    default: 'off',
    description:
      'Whether media are sent by the server itself, or by the bucket: a 302 to a presigned URL (S3 only).',
  }),
  mediaPublicUrl: optional({
    env: 'LANDFALL_MEDIA_PUBLIC_URL',
    yaml: 'media.publicUrl',
    section: 'media',
    kind: httpUrlKind('the http or https URL of a CDN in front of this server, such as https://cdn.example'),
    unset: 'none: URLs of media are relative',
    description: 'What stands in front of `/media/...` in the URLs that the API gives out.',
  }),
  accelRedirect: optional({
    env: 'LANDFALL_ACCEL_REDIRECT',
    yaml: 'accelRedirect',
    section: 'media',
    kind: text(
      'an internal location such as /internal/, with a slash at both ends',
      /^\/(?:[A-Za-z0-9._~-]+\/)+$/,
    ),
    unset: 'none',
    description:
      "nginx's internal location for the data directory: media are then sent by nginx (`X-Accel-Redirect`; file store only).",
  }),
  direct: setting({
    env: 'LANDFALL_DIRECT',
    yaml: 'direct',
    section: 'media',
    kind: onOff(),
    default: 'on',
    description:
      'Whether browsers may upload straight to the bucket (S3 only); `off` sends them back to tus.',
  }),
  directUrlExpiryMs: setting({
    env: 'LANDFALL_DIRECT_URL_EXPIRY',
    yaml: 'directUrlExpiry',
    section: 'media',
    kind: duration(SECOND, 7 * DAY),
    default: '1h',
    description: 'How long a presigned URL of a direct upload lives; an expired one is signed again.',
  }),
  web: setting({
    env: 'LANDFALL_WEB',
    yaml: 'web',
    section: 'media',
    kind: onOff(),
    default: 'on',
    description: 'Whether the browser page at `/` is served.',
  }),
} satisfies Record<string, Setting<unknown>>;
