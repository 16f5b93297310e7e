import { parse } from 'yaml';

/** A service as docker-compose.yml describes it, as far as the tests look at it. */
export interface ComposeService {
  image?: string;
  build?: string;
  command?: string[];
  restart?: string;
  stop_grace_period?: string;
  environment?: Record<string, string>;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test?: string[]; disable?: boolean };
  volumes?: string[];
  networks?: string[];
  ports?: string[];
}

export interface ComposeFile {
  services: Record<string, ComposeService>;
  networks: Record<string, unknown>;
  volumes: Record<string, unknown>;
}

/** Reads the YAML with merge keys, and puts in variables as Compose does. Throws for one that has to be set. */
export function parseCompose(text: string, variables: Record<string, string>): ComposeFile {
  return parse(interpolate(text, variables), { merge: true }) as ComposeFile;
}

/** `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}` of the Compose specification. */
function interpolate(text: string, variables: Record<string, string>): string {
  return text
    .split('\n')
    .map((line) =>
      line.trimStart().startsWith('#')
        ? line
        : line.replace(
            /\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}/g,
            (whole, name: string, kind?: string, rest = '') => {
              if (whole === '$$') return '$';
              const value = variables[name];
              if (value !== undefined && value !== '') return value;
              if (kind === '?') throw new Error(`${name} is not set: ${rest}`);
              return kind === '-' ? rest : '';
            },
          ),
    )
    .join('\n');
}
