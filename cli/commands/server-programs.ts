import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';

/**
 * The commands that are the server's own programs. Nothing of the server is loaded before one of them is asked for:
 * all other commands speak HTTP with it, wherever it runs.
 */
export function addServerCommands(program: Command): void {
  program
    .command('serve')
    .summary('run the server')
    .description(
      'Runs the server. Everything is set by LANDFALL_… in the environment or landfall.yaml; these options win over both.',
    )
    .option('--host <address>', 'LANDFALL_HOST: the address to listen on')
    .option('--port <port>', 'LANDFALL_PORT: the port to listen on')
    .option('--data-dir <directory>', 'LANDFALL_DATA_DIR: where uploads are kept')
    .option('--role <role>', 'LANDFALL_ROLE: all, api or worker')
    .option('--config <file>', 'LANDFALL_CONFIG: the file to read instead of landfall.yaml')
    .addHelpText('after', '\nExample:\n  landfall serve --port 8080 --data-dir /srv/uploads')
    .action(async (options: Record<string, string>) => {
      for (const [key, value] of Object.entries(options)) process.env[ENVIRONMENT[key] as string] = value;
      await runProgram('server/main', ['--build-page']);
    });

  passOn(program, 'doctor', 'server/doctor/main').summary(
    'try out the configured bucket, Redis and directories',
  );
  passOn(program, 'config', 'server/config/main').summary(
    'print the configuration that is in force, secrets hidden',
  );
  passOn(program, 'import', 'server/import/main').summary(
    'take objects that are in the bucket already under the same roof',
  );
}

const ENVIRONMENT: Readonly<Record<string, string>> = {
  host: 'LANDFALL_HOST',
  port: 'LANDFALL_PORT',
  dataDir: 'LANDFALL_DATA_DIR',
  role: 'LANDFALL_ROLE',
  config: 'LANDFALL_CONFIG',
};

/** A command whose words are all the other program's, `--help` too. */
function passOn(program: Command, name: string, entry: string): Command {
  return program
    .command(name)
    .argument('[args...]')
    .usage('[options]')
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action((_args: string[], _options: unknown, command: Command) => runProgram(entry, command.args));
}

/**
 * Runs another program in this process, as if it had been started itself: it may start copies of itself, too.
 * `entry`: its path without the extension, which is this program's: TypeScript, or what was built of it.
 */
async function runProgram(entry: string, args: readonly string[]): Promise<void> {
  const url = new URL(`../../${entry}${extname(import.meta.url)}`, import.meta.url);
  process.argv = [process.argv[0] as string, fileURLToPath(url), ...args];
  await import(url.href);
}
