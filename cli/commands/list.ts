import { type Command, Option } from 'commander';
import { openSession } from '../../client/options.ts';
import type { UnfinishedUpload } from '../../client/resume-store.ts';
import { listUploads } from '../../client/server-api.ts';
import type { ShownUpload } from '../../client/shown-upload.ts';
import {
  type CommandContext,
  runCommand,
  type ServerFlags,
  wholeNumber,
  withServerOptions,
} from '../client-command.ts';
import { describeState, formatTime, table } from '../describe-upload.ts';
import { EXIT } from '../exit-codes.ts';
import { printable } from '../progress-board.ts';
import { formatBytes } from '../quantities.ts';

interface Flags extends ServerFlags {
  state?: string;
  group?: string;
  limit: number;
  all?: boolean;
  parts?: boolean;
  unfinished?: boolean;
}

const PAGE = 1000;
const STATES: readonly ShownUpload['state'][] = [
  'receiving',
  'received',
  'processing',
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
];

const EXAMPLES = `
The server shows its uploads to operators only: from its own machine, or with its token.

Examples:
  landfall list
  landfall list --state receiving
  landfall list --unfinished       those that this machine can go on with
  landfall list --all --json | jq '.uploads[].id'`;

export function addListCommand(program: Command): void {
  const command = program
    .command('list')
    .summary("list the server's uploads, or this machine's unfinished ones")
    .description(
      "Lists the server's uploads, newest first; or with --unfinished those that this machine began.",
    );
  withServerOptions(command)
    .addOption(new Option('--state <state>', 'only those in this state').choices(STATES))
    .option('--group <group>', 'only those whose metadata has this group')
    .option('--limit <n>', 'how many', wholeNumber(1, PAGE), 50)
    .option('--all', 'all of them')
    .option('--parts', 'also the partial uploads of which others are made')
    .option('--unfinished', 'those that this machine began and can go on with, on any server')
    .addHelpText('after', EXAMPLES)
    .action((flags: Flags) =>
      runCommand(flags, (context) =>
        flags.unfinished === true ? listOwn(context) : listServers(context, flags),
      ),
    );
}

async function listServers({ console, connection }: CommandContext, flags: Flags): Promise<number> {
  const session = openSession(connection);
  const wanted = flags.all === true ? Number.POSITIVE_INFINITY : flags.limit;
  const uploads: ShownUpload[] = [];
  let cursor: string | undefined;
  try {
    do {
      const { state, group } = flags;
      const limit = Math.min(PAGE, wanted - uploads.length);
      const page = await listUploads(session, { state, group, limit, cursor });
      uploads.push(...page.uploads.filter(({ partial }) => flags.parts === true || !partial));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined && uploads.length < wanted);
  } finally {
    session.close();
  }
  console.json({ uploads, isComplete: cursor === undefined });
  if (uploads.length === 0) {
    console.line('There are no uploads.');
    return EXIT.ok;
  }
  const rows = uploads.map((upload) => [
    upload.id,
    describeState(upload),
    upload.size === null ? '?' : formatBytes(upload.size),
    formatTime(upload.createdAt),
    upload.partial ? '(a part of an upload)' : printable(upload.filename ?? ''),
  ]);
  console.line(table([['ID', 'STATE', 'SIZE', 'CREATED', 'NAME'], ...rows], [2]));
  if (cursor !== undefined) console.note('There are more: --limit or --all shows them.');
  return EXIT.ok;
}

async function listOwn({ console, store }: CommandContext): Promise<number> {
  const unfinished = await store.list();
  console.json({ uploads: unfinished });
  if (unfinished.length === 0) {
    console.line('There is no unfinished upload.');
    return EXIT.ok;
  }
  const rows = unfinished.map((entry: UnfinishedUpload) => [
    printable(entry.source.path),
    formatBytes(entry.source.size),
    formatTime(entry.startedAt),
    entry.root,
  ]);
  console.line(table([['FILE', 'SIZE', 'STARTED', 'SERVER'], ...rows], [1]));
  return EXIT.ok;
}
