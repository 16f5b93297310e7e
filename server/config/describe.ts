import { resolve } from 'node:path';
import type { LoadConfigOptions } from '../config.ts';
import { maskValue } from './problems.ts';
import type { SectionId, Setting } from './setting.ts';
import { SETTINGS } from './settings.ts';
import { CONFIG_FILE_ENV, DEFAULT_CONFIG_FILE, readEnvironment, readYamlFile } from './sources.ts';

/** A setting as it is in force. */
export interface DescribedSetting {
  name: string;
  /** The key in landfall.yaml. */
  yaml: string;
  section: SectionId;
  /** As it would be written, with secrets masked; or what stands in where nothing was. */
  value: string;
  source: 'environment' | 'file' | 'default';
}

/** Every setting with its value and where that comes from, for a configuration that was loaded without problems. */
export function describeConfig(options: LoadConfigOptions = {}): DescribedSetting[] {
  const cwd = resolve(options.cwd ?? process.cwd());
  const fromEnvironment = readEnvironment(options.env ?? process.env, []);
  const fromFile = readYamlFile(options.file ?? fromEnvironment.get(CONFIG_FILE_ENV)?.text, cwd, []);
  const settings: readonly Setting<unknown>[] = Object.values(SETTINGS);
  return settings.map(({ env, yaml, section, default: byDefault, unset = 'none', isSecret = false }) => {
    const inEnvironment = fromEnvironment.get(env)?.text;
    const inFile = fromFile.get(env)?.text;
    const given = inEnvironment ?? inFile;
    return {
      name: env,
      yaml,
      section,
      value: given === undefined ? (byDefault ?? unset) : maskValue(given, isSecret),
      source: inEnvironment !== undefined ? 'environment' : inFile !== undefined ? 'file' : 'default',
    };
  });
}

/** The file that is read, whether it is there or not. */
export function configFileOf(env: NodeJS.ProcessEnv): string {
  return resolve(env[CONFIG_FILE_ENV] || DEFAULT_CONFIG_FILE);
}
