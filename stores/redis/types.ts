/*
 * What the lock, the catalog and the caches need of Redis, and no more. ioredis stays behind `connect.ts`, and a
 * simulation can put its own Redis here (it runs a script by its name).
 */

export type RedisArgument = string | number;

/** A Lua script, kept in a file of its own next to the code that runs it. */
export interface RedisScript {
  /** Name of the file without `.lua`. */
  readonly name: string;
  readonly lua: string;
  readonly sha1: string;
}

export interface RedisCommands {
  /** In a Cluster every key of one script has to share a hash slot, and PUBLISH counts only one node's receivers. */
  readonly isCluster: boolean;
  /** Of a Cluster. */
  readonly cluster?: ClusterLayout | undefined;
  /**
   * Sends one command. Rejects only with a StoreError store_unavailable, after two seconds at the latest. The
   * command may have been carried out nevertheless.
   */
  send(command: string, ...args: RedisArgument[]): Promise<unknown>;
  /** Runs a script: one round trip, and a second one where the server does not know it yet. Rejects as `send` does. */
  run(script: RedisScript, keys: readonly string[], args: readonly RedisArgument[]): Promise<unknown>;
}

/** Which keys of a Cluster lie on one node, as far as this client knows by now. */
export interface ClusterLayout {
  /**
   * A hash tag, without its braces, for keys that lie on the same node as `key`: the same for everything on that node,
   * until slots move to or from it. Undefined: not known yet.
   */
  tagBeside(key: string): string | undefined;
  /** What `tagBeside` answers, one for each node. */
  tags(): string[];
  /** Told when that has changed: at the start, after failovers, when slots were moved. The returned function ends it. */
  onChange(listener: () => void): () => void;
}

export interface RedisSubscriber {
  /**
   * Subscribes for good: whenever the connection comes back, the subscription does. Messages sent in between are
   * lost, so `onResumed` is called after every (re)subscription. The returned function ends it.
   */
  subscribe(channel: string, onMessage: (message: string) => void, onResumed: () => void): () => void;
}

export interface RedisConnection {
  readonly commands: RedisCommands;
  readonly subscriber: RedisSubscriber;
  /** Where it goes, without secrets. */
  readonly description: string;
  /** Connected, and answering when last asked. */
  isReady(): boolean;
  /** Resolves when Redis answers; rejects with store_unavailable when it does not within `timeoutMs`. */
  whenReady(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * What happens to a connection, for the log. `message` holds no secret. `redis_evicts`: this Redis is set up to forget
 * when it is full.
 */
export interface RedisEvent {
  event: 'redis_ready' | 'redis_lost' | 'redis_error' | 'redis_evicts';
  /** Which of the connections: `queue` adds jobs, `worker` takes them. */
  connection: 'commands' | 'subscriber' | 'queue' | 'worker';
  message?: string;
}
