import { TUSD_HOOKS } from '../tusd-hooks/hook-names.ts';
import { httpUrlKind } from './addresses.ts';
import { duration, integer, listOf, oneOf, onOff, orWord, text } from './kinds.ts';
import type { Setting } from './setting.ts';
import { optional, setting } from './setting.ts';

const SECOND = 1000;
const DAY = 24 * 3600 * SECOND;

const WEBHOOK_EVENTS = ['received', 'ready', 'rejected', 'failed', 'aborted', 'expired'];

/** What happens after the last byte, and who is told. */
export const EVENT_SETTINGS = {
  role: setting({
    env: 'LANDFALL_ROLE',
    yaml: 'role',
    section: 'jobs',
    kind: oneOf('all', 'api', 'worker'),
    default: 'all',
    description:
      'What this process does: requests, the work after an upload, or both. Anything but `all` needs the S3 store and Redis.',
  }),
  jobConcurrency: setting({
    env: 'LANDFALL_JOB_CONCURRENCY',
    yaml: 'jobConcurrency',
    section: 'jobs',
    kind: orWord(['auto'], undefined, integer(1, 64)),
    default: 'auto',
    description:
      'Finished uploads that one process works on at once; `auto` is half of the processors, divided by `LANDFALL_PROCESSES`. See [roles](deploy.md#roles).',
  }),
  verifyWhen: setting({
    env: 'LANDFALL_VERIFY_WHEN',
    yaml: 'verifyWhen',
    section: 'jobs',
    kind: oneOf('finish', 'before-response'),
    default: 'finish',
    description:
      'When a declared SHA-256 is compared: after the last request was answered, or before (a wrong one is then its 460).',
  }),
  rejectedRetentionMs: setting({
    env: 'LANDFALL_REJECTED_RETENTION',
    yaml: 'rejectedRetention',
    section: 'jobs',
    kind: duration(0, 3650 * DAY),
    default: '7d',
    description: 'How long the bytes of a rejected upload are kept, for whoever wants to know what came.',
  }),
  webhookUrl: optional({
    env: 'LANDFALL_WEBHOOK_URL',
    yaml: 'webhook.url',
    section: 'jobs',
    kind: httpUrlKind('an http or https URL such as https://app.example/landfall'),
    unset: 'none',
    description:
      'Who is told about uploads, by the Standard Webhooks specification. See [events](events.md).',
  }),
  webhookSecret: optional({
    env: 'LANDFALL_WEBHOOK_SECRET',
    yaml: 'webhook.secret',
    section: 'jobs',
    kind: text('whsec_ and 24 to 64 bytes in base64', /^whsec_[A-Za-z0-9+/]{32,86}={0,2}$/),
    unset: 'none',
    description: 'What webhooks are signed with.',
    isSecret: true,
  }),
  webhookEvents: setting({
    env: 'LANDFALL_WEBHOOK_EVENTS',
    yaml: 'webhook.events',
    section: 'jobs',
    kind: listOf(`some of ${WEBHOOK_EVENTS.join(', ')}, with commas between them`, (item) =>
      parseWord(item, WEBHOOK_EVENTS),
    ),
    default: 'ready,rejected,failed',
    description: 'What is told.',
  }),
  webhookAllowPrivate: setting({
    env: 'LANDFALL_WEBHOOK_ALLOW_PRIVATE',
    yaml: 'webhook.allowPrivate',
    section: 'jobs',
    kind: onOff(),
    default: 'off',
    description: 'Whether webhooks may go to private, loopback and link-local addresses.',
  }),
  tusdHooksUrl: optional({
    env: 'LANDFALL_TUSD_HOOKS_URL',
    yaml: 'tusdHooks.url',
    section: 'jobs',
    kind: httpUrlKind('an http or https URL such as http://127.0.0.1:8081/hooks'),
    unset: 'none',
    description: "A receiver of tusd's HTTP hooks. See [events](events.md).",
  }),
  tusdHooksEvents: setting({
    env: 'LANDFALL_TUSD_HOOKS_EVENTS',
    yaml: 'tusdHooks.events',
    section: 'jobs',
    kind: listOf(`some of ${TUSD_HOOKS.join(', ')}, with commas between them`, (item) =>
      parseWord(item, TUSD_HOOKS),
    ),
    default: TUSD_HOOKS.join(),
    description: 'Which of the hooks are called.',
  }),
  tusdHooksTimeoutMs: setting({
    env: 'LANDFALL_TUSD_HOOKS_TIMEOUT',
    yaml: 'tusdHooks.timeout',
    section: 'jobs',
    kind: duration(100, 300 * SECOND),
    default: '15s',
    description: 'How long a hook may take to answer.',
  }),
  tusdHooksForwardHeaders: setting({
    env: 'LANDFALL_TUSD_HOOKS_FORWARD_HEADERS',
    yaml: 'tusdHooks.forwardHeaders',
    section: 'jobs',
    kind: orWord(
      ['none'],
      [],
      listOf(
        "names of the client's headers such as authorization, with commas between them",
        parseHeaderName,
      ),
    ),
    default: 'none',
    description: "Headers of the client's request that are also sent to the hooks' receiver as headers.",
  }),
} satisfies Record<string, Setting<unknown>>;

function parseWord(item: string, words: readonly string[]): string {
  if (!words.includes(item)) throw new RangeError(`"${item.slice(0, 60)}" is not one of them`);
  return item;
}

function parseHeaderName(item: string): string {
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(item))
    throw new RangeError(`"${item.slice(0, 60)}" is no header's name`);
  return item.toLowerCase();
}
