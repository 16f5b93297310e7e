/** `landfall`: see docs/cli.md. */
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { Command, CommanderError } from 'commander';
import { addAbortCommand } from './commands/abort.ts';
import { addDownloadCommand } from './commands/download.ts';
import { addListCommand } from './commands/list.ts';
import { addProgressCommand } from './commands/progress.ts';
import { addResumeCommand } from './commands/resume.ts';
import { addServerCommands } from './commands/server-programs.ts';
import { addShowCommand } from './commands/show.ts';
import { addTestUploadCommand } from './commands/test-upload.ts';
import { addUploadCommand } from './commands/upload.ts';
import { EXIT, UsageError } from './exit-codes.ts';

const HELP = `
Exit codes: 0 done; 1 failed; 2 wrong command line; 3 some of several failed; 4 the server cannot be reached;
5 the bytes are not right; 6 no such upload; 78 wrong server configuration; 130 interrupted; 143 terminated.

Start here:
  landfall serve                          a server on this machine
  landfall upload video.mov               send it a file; Ctrl-C, and the same again goes on
  landfall list
  landfall upload --help`;

function buildProgram(): Command {
  const program = new Command('landfall')
    .description(
      'Uploads that survive broken connections: a client for Landfall servers, and the server itself.',
    )
    .version(readVersion(), '-V, --version')
    .enablePositionalOptions()
    .showHelpAfterError('(--help says more)')
    .addHelpText('after', HELP)
    .exitOverride();
  addUploadCommand(program);
  addResumeCommand(program);
  addListCommand(program);
  addShowCommand(program);
  addProgressCommand(program);
  addAbortCommand(program);
  addDownloadCommand(program);
  addTestUploadCommand(program);
  addServerCommands(program);
  return program;
}

function readVersion(): string {
  const text = readFileSync(findPackageJSON(import.meta.url) as string, 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

async function main(): Promise<void> {
  // Whoever read the output has gone (`| head`): there is nobody to tell anything.
  process.stdout.on('error', () => process.exit(EXIT.failed));
  try {
    await buildProgram().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    else if (error instanceof UsageError) {
      process.stderr.write(`landfall: ${error.message}\n`);
      process.exitCode = EXIT.usage;
    } else throw error;
  }
}

await main();
