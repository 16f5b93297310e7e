import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderPages } from '../../docs/generate.ts';
import { SECTIONS } from '../../server/config/setting.ts';
import { SETTINGS } from '../../server/config/settings.ts';
import { ERRORS } from '../../server/errors.ts';

function pageOnDisk(name: string): string {
  return readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
}

test.each(Object.entries(renderPages()))('docs/%s is what `npm run docs` writes', (name, rendered) => {
  expect(pageOnDisk(name)).toBe(rendered);
});

test('configuration.md names every setting, and has an anchor for every section that problems point to', () => {
  const page = pageOnDisk('configuration.md');
  for (const setting of Object.values(SETTINGS)) {
    expect(page).toContain(`| \`${setting.env}\`<br>\`${setting.yaml}\` |`);
  }
  for (const id of [...Object.keys(SECTIONS), 'landfallyaml']) {
    expect(page.split(`<a id="${id}"></a>`)).toHaveLength(2);
  }
});

test('errors.md has one row for every code', () => {
  const rows = [...pageOnDisk('errors.md').matchAll(/^\| `([a-z_]+)` \| (\d{3}) \|/gm)];
  const documented = Object.fromEntries(rows.map((row) => [row[1], Number(row[2])]));
  expect(rows).toHaveLength(Object.keys(ERRORS).length);
  expect(documented).toEqual(
    Object.fromEntries(Object.entries(ERRORS).map(([code, { status }]) => [code, status])),
  );
});
