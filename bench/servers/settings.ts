/** What the reference servers are told by their environment. */
export interface ReferenceSettings {
  port: number;
  /** Where they keep uploads; exists. */
  dir: string;
}

export function readSettings(env: NodeJS.ProcessEnv): ReferenceSettings {
  const port = Number(env.BENCH_PORT);
  const dir = env.BENCH_DIR;
  if (!Number.isInteger(port) || dir === undefined) throw new Error('BENCH_PORT and BENCH_DIR are needed');
  return { port, dir };
}
