import type { CheckResult, GroupResult } from './run-checks.ts';
import { countLevels } from './run-checks.ts';
import type { Level } from './types.ts';

export interface RenderOptions {
  hasColor: boolean;
  /** Characters in a line. */
  width: number;
}

const MARKS: Record<Level, { sign: string; color: number }> = {
  ok: { sign: '✓', color: 32 },
  warn: { sign: '!', color: 33 },
  fail: { sign: '✗', color: 31 },
};
const BOLD = 1;
const DIM = 2;
const NAME_WIDTH = 14;
const INDENT = ' '.repeat(4 + 2 + NAME_WIDTH);

/** The report as people read it, piece by piece, so that it can be shown while the checks run. */
export function createRenderer({ hasColor, width }: RenderOptions) {
  const paint = (code: number, text: string) => (hasColor ? `\u001b[${code}m${text}\u001b[0m` : text);
  const textWidth = Math.max(30, width - INDENT.length);

  return {
    group: (title: string): string => `\n  ${paint(BOLD, title)}\n`,

    check({ name, findings }: CheckResult): string {
      return findings
        .map(({ level, text, change }, index) => {
          const { sign, color } = MARKS[level];
          const label = (index === 0 ? name : '').padEnd(NAME_WIDTH);
          const lines = wrap(text, textWidth).join(`\n${INDENT}`);
          const advice =
            change === undefined
              ? ''
              : `${INDENT}${paint(color, '→')} ${wrap(change, textWidth - 2).join(`\n${INDENT}  `)}\n`;
          return `    ${paint(color, sign)} ${label}${lines}\n${advice}`;
        })
        .join('');
    },

    skipped: (names: readonly string[]): string =>
      `${wrap(`not checked: ${names.join(', ')}`, textWidth)
        .map((line) => `${INDENT}${paint(DIM, line)}`)
        .join('\n')}\n`,

    summary(results: readonly GroupResult[]): string {
      const counts = countLevels(results);
      const parts = [
        counts.fail > 0 ? paint(MARKS.fail.color, `${counts.fail} to fix`) : undefined,
        counts.warn > 0 ? paint(MARKS.warn.color, `${counts.warn} to look at`) : undefined,
        paint(MARKS.ok.color, `${counts.ok} fine`),
      ].filter((part) => part !== undefined);
      const verdict =
        counts.fail > 0
          ? 'Landfall should not run like this.'
          : counts.warn > 0
            ? 'Landfall can run like this.'
            : 'All is well.';
      return `\n  ${paint(BOLD, verdict)} ${parts.join(', ')}.\n\n`;
    },
  };
}

/** Breaks between words; a line that begins with two spaces (a snippet to copy) stays as it is. */
function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    if (paragraph.startsWith('  ')) return [paragraph];
    const lines: string[] = [];
    let line = '';
    for (const word of paragraph.split(' ')) {
      if (line !== '' && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else {
        line = line === '' ? word : `${line} ${word}`;
      }
    }
    return [...lines, line];
  });
}
