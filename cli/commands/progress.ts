import type { Command } from 'commander';
import { followUpload } from '../../client/follow-upload.ts';
import { openSession } from '../../client/options.ts';
import { createProgressMeter } from '../../client/progress.ts';
import type { ShownUpload } from '../../client/shown-upload.ts';
import { runCommand, type ServerFlags, withServerOptions } from '../client-command.ts';
import { EXIT } from '../exit-codes.ts';
import { printable } from '../progress-board.ts';
import { formatBytes } from '../quantities.ts';

const EXAMPLES = `
Ends when the upload is ready (exit code 0), or will never be (1, or 5 when it was rejected). With --json every
change is a line of its own.`;

export function addProgressCommand(program: Command): void {
  const command = program
    .command('progress')
    .summary('watch an upload arrive')
    .description('Watches an upload until it is ready, whoever sends it.')
    .argument('<id>', "the upload's id or address");
  withServerOptions(command)
    .addHelpText('after', EXAMPLES)
    .action((id: string, flags: ServerFlags) =>
      runCommand(flags, async ({ console, connection }) => {
        const session = openSession(connection);
        const line = console.board.add(id);
        // It shows what others send: what has arrived before is not this program's speed.
        const meter = createProgressMeter(undefined, (progress) => line.update(progress));
        let last: ShownUpload | undefined;
        try {
          for await (const upload of followUpload(session, id)) {
            if (flags.json === true && hasChanged(last, upload))
              process.stdout.write(`${JSON.stringify(upload)}\n`);
            meter.setTotal(upload.size ?? undefined);
            if (last === undefined) meter.skip(upload.offset);
            else meter.add(upload.offset - last.offset);
            if (upload.state !== 'receiving' && upload.state !== last?.state) line.note(upload.state);
            last = upload;
          }
        } finally {
          line.remove();
          session.close();
        }
        return conclude(console, last as ShownUpload);
      }),
    );
}

function hasChanged(before: ShownUpload | undefined, { state, offset, size }: ShownUpload): boolean {
  return before === undefined || before.state !== state || before.offset !== offset || before.size !== size;
}

function conclude(
  console: Parameters<Parameters<typeof runCommand>[1]>[0]['console'],
  { id, state, size, filename, reason }: ShownUpload,
): number {
  // A part of a parallel upload is gone when the whole was made of it, whose id is then the reason.
  const isPart = reason?.code === 'concatenated';
  const isReady = state === 'ready' || isPart;
  const mark = isReady
    ? console.paint('green', console.marks.done)
    : console.paint('red', console.marks.failed);
  const name = filename === null ? id : `${id} ${printable(filename)}`;
  const because = reason === null ? '' : `: ${printable(reason.message)} (${reason.code})`;
  const end = isPart ? `is now a part of ${printable(reason.message)}` : `${state}${because}`;
  console.line(`${mark} ${name}  ${size === null ? '' : `${formatBytes(size)}, `}${end}`);
  if (isReady) return EXIT.ok;
  return state === 'rejected' ? EXIT.corrupt : EXIT.failed;
}
