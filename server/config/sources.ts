import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, resolve } from 'node:path';
import type { ConfigProblem } from './problems.ts';
import { nearestName, sectionLink, showValue } from './problems.ts';
import type { Setting } from './setting.ts';
import { SETTINGS } from './settings.ts';

export const CONFIG_FILE_ENV = 'LANDFALL_CONFIG';
export const DEFAULT_CONFIG_FILE = 'landfall.yaml';

/** Enough for the table's own nesting; stops a file that refers to itself by an alias. */
const MAX_YAML_DEPTH = 3;

const SETTING_LIST: readonly Setting<unknown>[] = Object.values(SETTINGS);
const BY_YAML_KEY = new Map(SETTING_LIST.map((setting) => [setting.yaml, setting]));
/** Not ours: what the command line client is told in the same shell. */
const CLIENT_ENV_NAMES = ['LANDFALL_URL', 'LANDFALL_TOKEN'];
const ENV_NAMES = [CONFIG_FILE_ENV, ...SETTING_LIST.map((setting) => setting.env)];

/** A setting as somebody wrote it: the text, and the name under which a problem with it is reported. */
export interface GivenText {
  text: string;
  name: string;
}

/** What was written, by environment name. */
export type GivenTexts = Map<string, GivenText>;

/**
 * The LANDFALL_ settings of an environment. An empty one counts as not set, because that is what compose files
 * pass on for a variable that nobody set.
 */
export function readEnvironment(env: NodeJS.ProcessEnv, problems: ConfigProblem[]): GivenTexts {
  const given: GivenTexts = new Map();
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('LANDFALL_') || text === undefined || CLIENT_ENV_NAMES.includes(name)) {
      continue;
    }
    if (!ENV_NAMES.includes(name)) {
      // The value stays unseen: it may be a secret under a mistyped name.
      problems.push({
        name,
        value: '(not shown)',
        expected: unknownEnvironment(name),
        section: sectionLink('server'),
      });
    } else if (text.trim() !== '') {
      given.set(name, { text: text.trim(), name });
    }
  }
  return given;
}

/** The settings of a landfall.yaml: `path`, which must exist, or ./landfall.yaml, which need not. */
export function readYamlFile(path: string | undefined, cwd: string, problems: ConfigProblem[]): GivenTexts {
  const file = resolve(cwd, path ?? DEFAULT_CONFIG_FILE);
  if (path === undefined && !existsSync(file)) {
    return new Map();
  }
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    problems.push({
      name: path === undefined ? DEFAULT_CONFIG_FILE : CONFIG_FILE_ENV,
      value: showValue(file, false),
      expected: `a file that can be read (${reason})`,
      section: sectionLink('landfallyaml'),
    });
    return new Map();
  }
  return readYaml(content, basename(file), problems);
}

const require = createRequire(import.meta.url);

/** The settings in a YAML text; `fileName` is how problems call it. */
export function readYaml(content: string, fileName: string, problems: ConfigProblem[]): GivenTexts {
  const given: GivenTexts = new Map();
  const report = (key: string, value: string, expected: string, section = sectionLink('landfallyaml')) => {
    problems.push({ name: key === '' ? fileName : `${fileName}: ${key}`, value, expected, section });
  };

  const visit = (node: unknown, key: string, depth: number): void => {
    const setting = BY_YAML_KEY.get(key);
    if (node instanceof Map) {
      if (setting !== undefined) {
        report(key, '(a mapping)', setting.kind.form, sectionLink(setting.section));
      } else if (depth >= MAX_YAML_DEPTH) {
        report(key, '(a mapping)', 'no deeper nesting');
      } else {
        for (const [name, child] of node) {
          if (typeof name === 'string') {
            visit(child, key === '' ? name : `${key}.${name}`, depth + 1);
          } else {
            report(key, '(not shown)', 'keys that are plain names');
          }
        }
      }
      return;
    }
    if (setting === undefined) {
      report(key, '(not shown)', key === '' ? 'a mapping of settings to values' : unknownYamlKey(key));
      return;
    }
    const text = textOf(node, setting);
    if (text === undefined) {
      const expected = `${setting.kind.form}${setting.kind.isList ? ' (as a list or as one text)' : ', not a list'}`;
      report(key, '(a list)', expected, sectionLink(setting.section));
    } else if (given.has(setting.env)) {
      report(key, '(not shown)', 'each setting once', sectionLink(setting.section));
    } else if (text !== '') {
      given.set(setting.env, { text, name: `${fileName}: ${key}` });
    }
  };

  // Here, because most setups have no such file, and loading this takes longer than reading all other settings.
  const { parseDocument } = require('yaml') as typeof import('yaml');
  // Failsafe: every scalar stays the text that was written, so that a file and the environment mean the same.
  // No pretty errors: they quote the line, which may hold a secret.
  const document = parseDocument(content, { schema: 'failsafe', prettyErrors: false });
  const syntaxError = document.errors[0];
  if (syntaxError !== undefined) {
    const line = content.slice(0, syntaxError.pos[0]).split('\n').length;
    report('', `(line ${line})`, `valid YAML (${syntaxError.code.toLowerCase().replaceAll('_', ' ')})`);
    return given;
  }
  let root: unknown;
  try {
    root = document.toJS({ mapAsMap: true });
  } catch {
    // Its message may quote the file; aliases without an anchor, or far too many of them, are all there is.
    report('', '(not shown)', 'YAML whose aliases can be resolved');
    return given;
  }
  if (root !== null && root !== '') {
    visit(root, '', 0);
  }
  return given;
}

/** The one text that a YAML value stands for; undefined for a list where there is none to be. */
function textOf(node: unknown, setting: Setting<unknown>): string | undefined {
  if (node === null || node === undefined) {
    return '';
  }
  if (typeof node === 'string') {
    return node.trim();
  }
  if (!setting.kind.isList || !Array.isArray(node) || !node.every((item) => typeof item === 'string')) {
    return undefined;
  }
  return node.length === 0 ? 'none' : node.join(',');
}

function unknownEnvironment(name: string): string {
  // A Kubernetes service called "landfall" puts these into every pod of its namespace.
  if (/^LANDFALL_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP)\w*)$/.test(name)) {
    return 'no such setting; Kubernetes sets it for a service called landfall: put enableServiceLinks: false into the pod';
  }
  return `no such setting${didYouMean(nearestName(name, ENV_NAMES))}`;
}

function unknownYamlKey(key: string): string {
  const children = [...BY_YAML_KEY.keys()].filter((known) => known.startsWith(`${key}.`));
  if (children.length > 0) {
    return `a mapping with ${children.map((child) => child.slice(key.length + 1)).join(', ')}`;
  }
  return `no such setting${didYouMean(nearestName(key, BY_YAML_KEY.keys()))}`;
}

function didYouMean(name: string | undefined): string {
  return name === undefined ? '' : `; did you mean ${name}?`;
}
