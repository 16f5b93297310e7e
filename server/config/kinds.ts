import { DURATION_FORM, formatDuration, formatSize, parseDuration, parseSize, SIZE_FORM } from './units.ts';

/**
 * How a setting's text becomes a value. `parse` throws a RangeError whose message is what is wrong with this
 * text in particular; it is empty where the form says it all.
 */
export interface Kind<T> {
  /** What may be written, for the documentation and for problems. */
  form: string;
  /** A list in landfall.yaml stands for the same items with commas between them. */
  isList?: boolean;
  parse(text: string): T;
}

export function integer(min: number, max: number): Kind<number> {
  return {
    form: `a whole number from ${min} to ${max}`,
    parse(text) {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      if (!(value >= min && value <= max)) {
        throw new RangeError();
      }
      return value;
    },
  };
}

/** Bytes between `min` and `max`, both themselves allowed. */
export function size(min: number, max = Number.MAX_SAFE_INTEGER): Kind<number> {
  const limits =
    max === Number.MAX_SAFE_INTEGER
      ? `at least ${formatSize(min)}`
      : `from ${formatSize(min)} to ${formatSize(max)}`;
  return { form: `${SIZE_FORM}, ${limits}`, parse: (text) => within(parseSize(text), min, max, limits) };
}

/** Milliseconds between `minMs` and `maxMs`, both themselves allowed. */
export function duration(minMs: number, maxMs: number): Kind<number> {
  const limits = `from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return {
    form: `${DURATION_FORM}, ${limits}`,
    parse: (text) => within(parseDuration(text), minMs, maxMs, limits),
  };
}

export function oneOf<const T extends string>(...choices: T[]): Kind<T> {
  return {
    form: choices.length === 2 ? choices.join(' or ') : `one of ${choices.join(', ')}`,
    parse(text) {
      const choice = choices.find((candidate) => candidate === text);
      if (choice === undefined) {
        throw new RangeError();
      }
      return choice;
    },
  };
}

/** `on` or `off`; what YAML and shells call true and false is taken too. */
export function onOff(): Kind<boolean> {
  return {
    form: 'on or off',
    parse(text) {
      const word = text.toLowerCase();
      if (word === 'on' || word === 'true' || word === 'yes' || word === '1') {
        return true;
      }
      if (word === 'off' || word === 'false' || word === 'no' || word === '0') {
        return false;
      }
      throw new RangeError();
    },
  };
}

/** Text that `pattern` matches. */
export function text(form: string, pattern: RegExp): Kind<string> {
  return {
    form,
    parse(given) {
      if (!pattern.test(given)) {
        throw new RangeError();
      }
      return given;
    },
  };
}

/** Any path that a file system can take; it is made absolute later, when the working directory is known. */
export function directory(): Kind<string> {
  return {
    form: 'a directory; a relative one starts at the working directory',
    parse(given) {
      if (given.includes('\0')) {
        throw new RangeError();
      }
      return given;
    },
  };
}

/** A kind that can also be switched off: each of `words` gives `instead`. */
export function orWord<T, U>(words: readonly string[], instead: U, kind: Kind<T>): Kind<T | U> {
  return {
    ...kind,
    form: `${kind.form}; or ${words.join(' or ')}`,
    parse: (given) => (words.includes(given.toLowerCase()) ? instead : kind.parse(given)),
  };
}

/** Comma-separated items, spaces around them ignored, repetitions dropped, at least one. */
export function listOf<T>(form: string, parseItem: (item: string) => T): Kind<T[]> {
  return {
    form,
    isList: true,
    parse: (given) => [...new Set(given.split(',').map((item) => parseItem(item.trim())))],
  };
}

function within(value: number, min: number, max: number, limits: string): number {
  if (value < min || value > max) {
    throw new RangeError(`this is not ${limits}`);
  }
  return value;
}
