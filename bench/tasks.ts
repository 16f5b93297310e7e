/**
 * What the orchestrator asks the client's process to do against one server. Paths are those of uploads. `chunkBytes`:
 * every PATCH carries at most so many, one after the other; default: one PATCH per upload.
 */
export type Task =
  | { kind: 'create'; port: number; count: number; bytes: number }
  | { kind: 'patch'; port: number; paths: string[]; bytes: number; chunkBytes?: number }
  | { kind: 'small'; port: number; count: number; connections: number; bytes: number; requests: 1 | 2 }
  | { kind: 'download'; port: number; path: string; bytes: number }
  | { kind: 'remove'; port: number; paths: string[] };

/** `seconds` from the first byte sent to the last answer. `paths` of what `create` made. */
export type TaskResult = { seconds: number; paths: string[] } | { failure: string };
