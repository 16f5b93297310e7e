/**
 * `landfall config`: prints the configuration that is in force, with secrets hidden, and where each value comes from.
 * Exit codes: 0 it is fine, 78 it is not (the problems are printed).
 */
import { existsSync } from 'node:fs';
import { CONFIG_EXIT_CODE, ConfigError, loadConfig } from '../config.ts';
import { configFileOf, type DescribedSetting, describeConfig } from './describe.ts';
import { SECTIONS, type SectionId } from './setting.ts';

const USAGE = `Usage: landfall config [--json] [--changed]

Prints every setting that is in force, with secrets hidden, and where it comes from: the environment, landfall.yaml
(or the file that LANDFALL_CONFIG names), or the default. docs/configuration.md says what they mean.

Options:
  --changed  only what differs from the default
  --json     as JSON

Exit code 0: the configuration is fine; 78: it is not.
`;
const OPTIONS: readonly string[] = ['--json', '--changed'];

function main(args: readonly string[]): number {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  const unknown = args.find((arg) => !OPTIONS.includes(arg));
  if (unknown !== undefined) {
    process.stderr.write(`landfall config: unknown option ${unknown}\n\n${USAGE}`);
    return 2;
  }
  const isJson = args.includes('--json');
  try {
    loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (isJson) printJson({ exitCode: CONFIG_EXIT_CODE, problems: error.problems });
    else process.stderr.write(`${error.message}\n`);
    return CONFIG_EXIT_CODE;
  }
  const settings = describeConfig().filter(
    ({ source }) => source !== 'default' || !args.includes('--changed'),
  );
  const file = configFileOf(process.env);
  if (isJson) printJson({ exitCode: 0, file: existsSync(file) ? file : null, settings });
  else process.stdout.write(render(settings, existsSync(file) ? file : `${file} (there is none)`));
  return 0;
}

function render(settings: readonly DescribedSetting[], file: string): string {
  const nameWidth = Math.max(0, ...settings.map(({ name }) => name.length));
  const valueWidth = Math.min(40, Math.max(0, ...settings.map(({ value }) => value.length)));
  const blocks = (Object.keys(SECTIONS) as SectionId[]).flatMap((section) => {
    const rows = settings.filter((setting) => setting.section === section);
    const lines = rows.map(
      ({ name, value, source }) => `  ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${source}`,
    );
    return rows.length === 0 ? [] : [`${SECTIONS[section]}\n${lines.join('\n')}`];
  });
  return `${[`File: ${file}`, ...blocks].join('\n\n')}\n`;
}

function printJson(report: unknown): void {
  process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
}

process.exitCode = main(process.argv.slice(2));
