/**
 * `landfall doctor` (`npm run doctor`): tries out what the configuration names (bucket, Redis, directories) and says
 * what to change.
 * Exit codes: 0 nothing has to be fixed, 1 something has to be, 78 the configuration itself is wrong.
 */
import { CONFIG_EXIT_CODE, type Config, ConfigError, loadConfig } from '../config.ts';
import { buildGroups } from './groups.ts';
import { createRenderer } from './render.ts';
import { countLevels, runChecks } from './run-checks.ts';

const USAGE = `Usage: landfall doctor [--json]

Tries out the configured bucket, Redis and directories, and says what to change. Everything it writes has a random
name and is removed again. Exit code 0: nothing has to be fixed; 1: something has to be; 78: wrong configuration.
`;
const MAX_WIDTH = 110;

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write(USAGE);
    return 0;
  }
  const unknown = args.find((arg) => arg !== '--json');
  if (unknown !== undefined) {
    process.stderr.write(`landfall doctor: unknown option ${unknown}\n\n${USAGE}`);
    return CONFIG_EXIT_CODE;
  }
  const isJson = args.includes('--json');
  let config: Config;
  try {
    config = loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (isJson) printJson({ exitCode: CONFIG_EXIT_CODE, problems: error.problems });
    else process.stderr.write(`${error.message}\n`);
    return CONFIG_EXIT_CODE;
  }

  const stop = new AbortController();
  // The first one lets the check at hand end and cleans up; a second one ends the program as it always does.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const { stdout, env } = process;
  // Whoever read this has gone (`| head`): nothing to tell, and still something to clean up.
  stdout.on('error', () => stop.abort());
  const render = createRenderer({
    hasColor: stdout.isTTY === true && env.NO_COLOR === undefined,
    width: Math.min(stdout.columns ?? MAX_WIDTH, MAX_WIDTH),
  });
  const print = (text: string) => void (isJson || stdout.write(text));
  print('\n  Landfall doctor\n');
  const results = await runChecks(
    buildGroups(config),
    {
      onGroup: (title) => print(render.group(title)),
      onCheck: (result) => print(render.check(result)),
      onSkipped: (names) => print(render.skipped(names)),
    },
    stop.signal,
  );
  const summary = countLevels(results);
  const exitCode = summary.fail > 0 || stop.signal.aborted ? 1 : 0;
  print(render.summary(results));
  if (isJson) printJson({ exitCode, summary, groups: results });
  return exitCode;
}

function printJson(report: unknown): void {
  process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
}

process.exitCode = await main(process.argv.slice(2));
