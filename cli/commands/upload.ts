import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import type { UploadOptions } from '../../client/options.ts';
import { createRateLimiter } from '../../client/rate-limiter.ts';
import { upload } from '../../client/start.ts';
import { parsed, runCommand, type ServerFlags, withServerOptions } from '../client-command.ts';
import { addMetadata, mediaTypeOf } from '../metadata.ts';
import { runUploads, type UploadJob, type UploadReports } from '../run-uploads.ts';
import { checksumOf, type UploadFlags, withUploadOptions } from '../transfer-options.ts';
import { listUploads, STDIN, type UploadItem } from '../upload-list.ts';

interface Flags extends ServerFlags, UploadFlags {
  metadata?: Record<string, string>;
  recursive?: boolean;
  direct?: boolean;
}

const EXAMPLES = `
Without --parallel and --chunk-size: below 64 MB one request; up to 1 GB 10 at the same time, of 8 MiB each;
up to 10 GB 5 of 32 MiB; above that 2 of 64 MiB.

Examples:
  landfall upload video.mov
  landfall upload --checksum sha256 --parallel 4 disk.img
  landfall upload --recursive photos --metadata group=holidays
  pg_dump shop | landfall upload - --metadata filename=shop.sql
  landfall upload --limit-rate 5MB/s *.zip --server https://upload.example

An upload that was interrupted, by Ctrl-C or by anything else, goes on with the same command, or "landfall resume".`;

export function addUploadCommand(program: Command): void {
  const command = program
    .command('upload')
    .summary('upload files, directories or the standard input')
    .description('Uploads files, and goes on where an earlier run of the same command stopped.')
    .argument('<files...>', 'files; directories with --recursive; - is the standard input');
  withUploadOptions(withServerOptions(command))
    .option(
      '--metadata <key=value>',
      'kept with the upload; can be given again',
      (text, before?: Record<string, string>) => parsed((given: string) => addMetadata(given, before))(text),
    )
    .option('-r, --recursive', 'upload what is in directories, and below')
    .option('--direct', "send the bytes straight to the server's bucket, where that works")
    .addHelpText('after', EXAMPLES)
    .action((paths: string[], flags: Flags) =>
      runCommand(flags, async (context) => {
        const { console, connection } = context;
        const items = await listUploads(paths, {
          isRecursive: flags.recursive === true,
          onSkipped: (path, why) => console.note(`${path}: left out, ${why}`),
        });
        const options: UploadOptions = {
          ...connection,
          store: context.store,
          parallel: flags.parallel,
          chunkSize: flags.chunkSize,
          checksum: checksumOf(flags),
          isDirect: flags.direct,
          // One limit for all of them.
          limitRate: flags.limitRate === undefined ? undefined : createRateLimiter(flags.limitRate),
        };
        const jobs = items.map((item) => jobOf(item, options, flags));
        return runUploads(context, await Promise.all(jobs));
      }),
    );
}

async function jobOf(item: UploadItem, options: UploadOptions, flags: Flags): Promise<UploadJob> {
  const isStdin = item.path === STDIN;
  const contentType = mediaTypeOf(isStdin ? (flags.metadata?.filename ?? '') : item.path);
  const metadata = {
    ...(isStdin ? {} : { filename: basename(resolve(item.path)) }),
    ...(contentType === undefined ? {} : { filetype: contentType }),
    ...(item.relativePath === undefined ? {} : { relativePath: item.relativePath }),
    ...flags.metadata,
  };
  return {
    name: item.name,
    size: isStdin ? undefined : (await stat(item.path).catch(() => undefined))?.size,
    path: isStdin ? undefined : item.path,
    run: (reports: UploadReports) =>
      upload(isStdin ? process.stdin : item.path, { ...options, ...reports, metadata }),
  };
}
