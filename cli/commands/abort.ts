import type { Command } from 'commander';
import { abandon, abortUpload } from '../../client/start.ts';
import { runCommand, type ServerFlags, withServerOptions } from '../client-command.ts';
import { describeError, errorJson } from '../console.ts';
import { EXIT, exitCodeOf, exitCodeOfAll } from '../exit-codes.ts';
import { printable } from '../progress-board.ts';
import { matching, ownServer } from '../unfinished.ts';

const EXAMPLES = `
Examples:
  landfall abort Tz4kQ…            an upload of the server, finished or not
  landfall abort video.mov         this machine's unfinished upload of that file`;

export function addAbortCommand(program: Command): void {
  const command = program
    .command('abort')
    .summary('delete uploads')
    .description('Deletes uploads from the server, finished or not, and forgets them here.')
    .argument('<what...>', 'ids or addresses of uploads, or files whose upload is unfinished');
  withServerOptions(command)
    .addHelpText('after', EXAMPLES)
    .action((all: string[], flags: ServerFlags) =>
      runCommand(flags, async ({ console, connection, store }) => {
        const results: Record<string, unknown>[] = [];
        const codes: number[] = [];
        for (const what of all) {
          try {
            const remembered = await matching(await store.list(), what);
            for (const entry of remembered) await abandon(entry, { ...ownServer(connection, entry), store });
            if (remembered.length === 0) await abortUpload(what, connection);
            codes.push(EXIT.ok);
            results.push({ upload: what, ok: true });
            console.line(`${console.paint('green', console.marks.done)} ${printable(what)}  deleted`);
          } catch (error) {
            codes.push(exitCodeOf(error));
            results.push({ upload: what, ok: false, error: errorJson(error) });
            console.failure(
              `${console.paint('red', console.marks.failed)} ${printable(what)}: ${describeError(error)}`,
            );
          }
        }
        const exitCode = exitCodeOfAll(codes);
        console.json({ uploads: results, exitCode });
        return exitCode;
      }),
    );
}
