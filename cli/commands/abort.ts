import type { Command } from 'commander';
import { isClientError } from '../../client/errors.ts';
import { openSession, type Session } from '../../client/options.ts';
import type { ResumeStore, UnfinishedUpload } from '../../client/resume-store.ts';
import { withRetries } from '../../client/retry.ts';
import { uploadUrlOf } from '../../client/server-address.ts';
import { deleteTusUpload } from '../../client/tus-requests.ts';
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
            for (const entry of remembered) {
              await withSession(openSession(ownServer(connection, entry)), (session) =>
                abortRemembered(session, store, entry),
              );
            }
            if (remembered.length === 0) {
              await withSession(openSession(connection), (session) =>
                deleteUpload(session, uploadUrlOf(session.address, what)),
              );
            }
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

async function abortRemembered(session: Session, store: ResumeStore, entry: UnfinishedUpload): Promise<void> {
  const claim = await store.claim(entry.files, entry.source.path);
  try {
    for (const { url } of entry.parts) {
      if (url === null) continue;
      await deleteUpload(session, url).catch((error: unknown) => {
        if (!isClientError(error, 'upload_gone')) throw error;
      });
    }
    await claim.remove();
  } finally {
    await claim.release();
  }
}

function deleteUpload({ retry, connection }: Session, url: string): Promise<void> {
  return withRetries(retry, () => deleteTusUpload(connection, url));
}

async function withSession(session: Session, work: (session: Session) => Promise<void>): Promise<void> {
  try {
    await work(session);
  } finally {
    session.close();
  }
}
