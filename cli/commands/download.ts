import { stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { Command } from 'commander';
import { download } from '../../client/download.ts';
import { findPreview } from '../../client/download-target.ts';
import { type ConnectionOptions, openSession } from '../../client/options.ts';
import { uploadIdOf } from '../../client/server-address.ts';
import { showUpload } from '../../client/server-api.ts';
import { runCommand, type ServerFlags, withServerOptions } from '../client-command.ts';
import { describeRetry } from '../console.ts';
import { EXIT, UsageError } from '../exit-codes.ts';
import { printable } from '../progress-board.ts';
import { formatBytes, formatDuration, formatRate } from '../quantities.ts';
import { withRateOption } from '../transfer-options.ts';

interface Flags extends ServerFlags {
  preview?: boolean;
  output?: string;
  force?: boolean;
  limitRate?: number;
}

const STDOUT = '-';

const EXAMPLES = `
The bytes are kept as NAME.part until all are there and their SHA-256 is right. A download that was interrupted goes on
with the same command; if what was put together turns out wrong, all of it is fetched again.

Examples:
  landfall download Tz4kQ…                  under the name that it was uploaded with
  landfall download Tz4kQ… -o disk.img
  landfall download Tz4kQ… -o - | tar x
  landfall download Tz4kQ… --preview -o preview.webp`;

export function addDownloadCommand(program: Command): void {
  const command = program
    .command('download')
    .summary('download an upload')
    .description('Downloads an upload, goes on where an earlier run stopped, and verifies the bytes.')
    .argument('<id>', "the upload's id or address");
  withRateOption(withServerOptions(command))
    .option(
      '-o, --output <path>',
      'a file, a directory, or - for the standard output (default: its own name, here)',
    )
    .option('-f, --force', 'replace a file that is there already')
    .option('--preview', 'its best preview instead of the original')
    .addHelpText('after', EXAMPLES)
    .action((id: string, flags: Flags) =>
      runCommand(flags, async ({ console, connection }) => {
        if (flags.output === STDOUT && flags.json === true) {
          throw new UsageError('--json and the bytes cannot both go to the standard output');
        }
        const target = flags.output === STDOUT ? undefined : await chooseTarget(id, flags, connection);
        const name = target === undefined ? id : printable(basename(target));
        const line = console.board.add(name);
        try {
          const result = await download(id, target ?? process.stdout, {
            ...connection,
            limitRate: flags.limitRate,
            variant: flags.preview === true ? 'preview' : 'original',
            onProgress: (progress) => line.update(progress),
            onRetry: (retry) => line.note(describeRetry(retry)),
            onResumed: (bytes) => console.note(`${name}: goes on at ${formatBytes(bytes)}`),
            onRestart: () =>
              console.note(
                `${name}: what was put together is not what the server has: all of it is fetched again`,
              ),
          });
          line.remove();
          console.json({ ...result, path: target ?? null });
          if (target !== undefined) {
            const { marks, paint } = console;
            const speed = result.bytesPerSecond > 0 ? `, ${formatRate(result.bytesPerSecond)}` : '';
            const verified = result.isVerified
              ? `sha256 ${result.sha256}`
              : `not verified: the server knows no SHA-256 of it (here it is ${result.sha256})`;
            console.line(
              `${paint('green', marks.done)} ${printable(target)}  ${formatBytes(result.size)} in ${formatDuration(result.durationMs)}${paint('dim', speed)}  ${verified}`,
            );
          }
          return EXIT.ok;
        } finally {
          line.remove();
        }
      }),
    );
}

/** The file to write: as it was asked for, or the upload's own name, in the directory that was asked for or this one. */
async function chooseTarget(id: string, flags: Flags, connection: ConnectionOptions): Promise<string> {
  const { output } = flags;
  const isDirectory =
    output !== undefined && (await stat(output).catch(() => undefined))?.isDirectory() === true;
  const target =
    output !== undefined && !isDirectory ? output : join(output ?? '.', await ownName(id, flags, connection));
  if (flags.force !== true && (await stat(target).catch(() => undefined)) !== undefined) {
    throw new UsageError(`${target} is there already: --force replaces it, -o names another`);
  }
  return target;
}

async function ownName(id: string, flags: Flags, connection: ConnectionOptions): Promise<string> {
  const session = openSession(connection);
  try {
    if (flags.preview !== true) return safeName((await showUpload(session, id)).filename, id);
    const { preview, filename, url } = await findPreview(session, id);
    const name = safeName(filename, id);
    return `${name.slice(0, name.length - extname(name).length)}-${preview.variant}${extname(new URL(url).pathname)}`;
  } finally {
    session.close();
  }
}

/** A name that somebody else chose, as one that stays in this directory and shows itself. */
function safeName(filename: string | null, id: string): string {
  const name = printable(basename((filename ?? '').replaceAll('\\', '/'))).replace(/^\.+/, '');
  return name === '' ? uploadIdOf(id) : name;
}
