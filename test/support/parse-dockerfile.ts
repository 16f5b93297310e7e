/** One instruction of a Dockerfile: its name in capitals, its flags (`--from=x`), and the rest of its line. */
export interface DockerInstruction {
  name: string;
  flags: Record<string, string>;
  rest: string;
}

/** What each build stage is made of; the first instruction of each is its FROM. */
export function parseDockerfile(text: string): DockerInstruction[][] {
  const stages: DockerInstruction[][] = [];
  for (const line of logicalLines(text)) {
    const match = /^([A-Za-z]+)\s+((?:--[a-z-]+=\S+\s+)*)(.+)$/.exec(line);
    if (match === null) {
      throw new Error(`not an instruction: ${line}`);
    }
    const [, name = '', flagText = '', rest = ''] = match;
    const flags = Object.fromEntries(
      [...flagText.matchAll(/--([a-z-]+)=(\S+)/g)].map(([, key = '', value = '']) => [key, value]),
    );
    const instruction = { name: name.toUpperCase(), flags, rest: rest.trim() };
    if (instruction.name === 'FROM') {
      stages.push([]);
    }
    const stage = stages.at(-1);
    if (stage === undefined) {
      throw new Error(`before the first FROM: ${line}`);
    }
    stage.push(instruction);
  }
  return stages;
}

/** Drops comments and blank lines, and joins lines that end in a backslash, as the Dockerfile reference says. */
function logicalLines(text: string): string[] {
  const kept = text.split('\n').filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'));
  return kept
    .join('\n')
    .replace(/\\[ \t]*\n/g, ' ')
    .split('\n')
    .map((line) => line.trim());
}
