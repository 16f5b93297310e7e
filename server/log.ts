import { type Logger, pino, stdSerializers } from 'pino';

/**
 * The log: JSON lines on standard output. Errors go under `error`, with message, stack and causes: left to itself,
 * pino writes only an error's own enumerable fields under any name but `err`.
 */
export function createLog(level: string): Logger {
  return pino({ level, serializers: { error: stdSerializers.err } });
}
