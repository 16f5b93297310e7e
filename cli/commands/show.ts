import type { Command } from 'commander';
import { openSession } from '../../client/options.ts';
import { uploadUrlOf } from '../../client/server-address.ts';
import { showUpload } from '../../client/server-api.ts';
import { runCommand, type ServerFlags, withServerOptions } from '../client-command.ts';
import { describeUpload } from '../describe-upload.ts';
import { EXIT } from '../exit-codes.ts';

export function addShowCommand(program: Command): void {
  const command = program
    .command('show')
    .summary('show one upload')
    .description('Shows what the server knows of one upload.')
    .argument('<id>', "the upload's id or address");
  withServerOptions(command).action((id: string, flags: ServerFlags) =>
    runCommand(flags, async ({ console, connection }) => {
      const session = openSession(connection);
      try {
        const upload = await showUpload(session, id);
        console.json(upload);
        console.line(describeUpload(upload, uploadUrlOf(session.address, upload.id)));
        return EXIT.ok;
      } finally {
        session.close();
      }
    }),
  );
}
