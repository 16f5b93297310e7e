import type { Command } from 'commander';
import { ClientError } from '../../client/errors.ts';
import { createRateLimiter } from '../../client/rate-limiter.ts';
import { resume } from '../../client/start.ts';
import { runCommand, type ServerFlags, withServerOptions } from '../client-command.ts';
import { runUploads, type UploadReports } from '../run-uploads.ts';
import { checksumOf, type UploadFlags, withRateOption } from '../transfer-options.ts';
import { matching, ownServer } from '../unfinished.ts';

type Flags = ServerFlags & Pick<UploadFlags, 'limitRate' | 'checksum'>;

const EXAMPLES = `
Uploads are remembered with their server, so --server is not needed here.

Examples:
  landfall resume                  all that are unfinished
  landfall resume video.mov        this file
  landfall resume Tz4kQ…           the upload with this id
  landfall list --unfinished       which there are`;

export function addResumeCommand(program: Command): void {
  const command = program
    .command('resume')
    .summary('go on with uploads that were interrupted')
    .description('Goes on with uploads that were interrupted, by whatever it was.')
    .argument('[what]', 'a file, or the id or address of an upload (default: all)');
  withRateOption(withServerOptions(command))
    .addHelpText('after', EXAMPLES)
    .action((what: string | undefined, flags: Flags) =>
      runCommand(flags, async (context) => {
        const { store, connection, console } = context;
        const unfinished = await store.list();
        const chosen = what === undefined ? unfinished : await matching(unfinished, what);
        if (chosen.length === 0 && what !== undefined) {
          throw new ClientError(
            'not_remembered',
            `there is no unfinished upload of ${what}: "landfall list --unfinished" shows all`,
          );
        }
        if (chosen.length === 0) console.note('There is no unfinished upload.');
        const limitRate = flags.limitRate === undefined ? undefined : createRateLimiter(flags.limitRate);
        const jobs = chosen.map((entry) => ({
          name: entry.source.path,
          size: entry.source.size,
          path: entry.source.path,
          run: (reports: UploadReports) =>
            resume(entry, {
              ...ownServer(connection, entry),
              ...reports,
              store,
              checksum: checksumOf(flags),
              limitRate,
            }),
        }));
        return runUploads(context, jobs);
      }),
    );
}
