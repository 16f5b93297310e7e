import { type DestinationStream, type Logger, pino, stdSerializers } from 'pino';

const STDOUT = 1;
/** Lines that wait are written at this length in any case. */
const MAX_WAITING_BYTES = 8 * 1024;
/** Of lines that could not be written so many are kept; later ones are dropped until they can. */
const MAX_KEPT_BYTES = 1024 * 1024;

/**
 * The log: JSON lines on standard output. Errors go under `error`, with message, stack and causes: left to itself,
 * pino writes only an error's own enumerable fields under any name but `err`.
 */
export function createLog(level: string): Logger {
  return pino({ level, serializers: { error: stdSerializers.err } }, createOutput());
}

/**
 * Writes the lines of one turn of the event loop together: a write for each would be a good part of what a small
 * upload costs. They are out before anything else happens, and whatever way the process ends by itself.
 */
function createOutput(): DestinationStream & { flushSync(): void } {
  const stdout = pino.destination({
    fd: STDOUT,
    sync: true,
    minLength: MAX_WAITING_BYTES,
    maxLength: MAX_KEPT_BYTES,
  });
  // A disk that is full of logs is no reason to stop taking uploads: what could not be written is tried again with the next line.
  stdout.on('error', () => {});
  let isScheduled = false;
  // Not the stream's own flushSync, which throws what its flush tells to pino: that nobody reads any more, say.
  const flushSync = () => {
    isScheduled = false;
    stdout.flush();
  };
  process.once('exit', flushSync);
  return {
    write(line) {
      stdout.write(line);
      if (isScheduled) return;
      isScheduled = true;
      setImmediate(flushSync);
    },
    flushSync,
  };
}
