/*
 * What can be checked of a page without eyes: names, headings, landmarks, ids and contrast, by WCAG 2.2. Run in the
 * page; leaves its findings in `auditFindings`.
 */

const findings: string[] = [];

function describe(element: Element): string {
  const text = (element.textContent ?? '').trim().slice(0, 40);
  return `<${element.tagName.toLowerCase()} class="${element.getAttribute('class') ?? ''}"> ${text}`;
}

function isShown(element: Element): boolean {
  return (
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) &&
    element.getClientRects().length > 0
  );
}

/** 4.1.2, the parts of an accessible name that pages use. */
function nameOf(element: Element): string {
  const labelledBy = element.getAttribute('aria-labelledby');
  if (labelledBy !== null) {
    return labelledBy
      .split(/\s+/)
      .map((id) => document.getElementById(id)?.textContent ?? '')
      .join(' ')
      .trim();
  }
  const label = element.getAttribute('aria-label')?.trim();
  if (label) return label;
  if (element instanceof HTMLInputElement || element instanceof HTMLSelectElement) {
    return [...(element.labels ?? [])]
      .map((one) => one.textContent ?? '')
      .join(' ')
      .trim();
  }
  const pictures = [...element.querySelectorAll('img[alt]')].map((image) => image.getAttribute('alt'));
  return [element.textContent ?? '', ...pictures, element.getAttribute('title') ?? ''].join(' ').trim();
}

for (const control of document.querySelectorAll(
  'a[href], button, input, select, textarea, progress, [role="button"]',
)) {
  if (isShown(control) && nameOf(control) === '') findings.push(`no name: ${describe(control)}`);
}
for (const image of document.querySelectorAll('img')) {
  if (!image.hasAttribute('alt')) findings.push(`no alt: ${describe(image)}`);
}
for (const dialog of document.querySelectorAll('dialog[open], [role="dialog"]')) {
  if (isShown(dialog) && nameOf(dialog) === '') findings.push(`a dialog without a name: ${describe(dialog)}`);
}

const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
for (const id of new Set(ids))
  if (ids.filter((other) => other === id).length > 1) findings.push(`two of #${id}`);

if (document.documentElement.lang === '') findings.push('no language');
if (document.title === '') findings.push('no title');
if (document.querySelectorAll('main').length !== 1) findings.push('not one <main>');
if (document.querySelectorAll('h1').length !== 1) findings.push('not one <h1>');
let level = 0;
for (const heading of document.querySelectorAll('h1, h2, h3, h4, h5, h6')) {
  if (heading.closest('dialog, #dashboard') !== null) continue;
  const own = Number(heading.tagName.slice(1));
  if (own > level + 1) findings.push(`a heading of level ${own} below ${level}: ${describe(heading)}`);
  level = own;
}

type Color = [red: number, green: number, blue: number, alpha: number];

const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext('2d', { willReadFrequently: true }) as OffscreenCanvasRenderingContext2D;

function parse(color: string): Color {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red = 0, green = 0, blue = 0, alpha = 0] = context.getImageData(0, 0, 1, 1).data;
  return [red, green, blue, alpha / 255];
}

function over([r, g, b, a]: Color, below: Color): Color {
  const mix = (top: number, bottom: number) => top * a + bottom * (1 - a);
  return [mix(r, below[0]), mix(g, below[1]), mix(b, below[2]), 1];
}

/** Undefined over a picture: nothing can be said there. */
function backgroundOf(element: Element | null): Color | undefined {
  if (element === null) return parse(matchMedia('(prefers-color-scheme: dark)').matches ? '#000' : '#fff');
  const { backgroundColor, backgroundImage } = getComputedStyle(element);
  if (backgroundImage !== 'none') return undefined;
  const own = parse(backgroundColor);
  if (own[3] === 1) return own;
  const below = backgroundOf(element.parentElement);
  return below && over(own, below);
}

function luminance([r, g, b]: Color): number {
  const linear = (channel: number) => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

/** 1.4.3: 4.5 to 1, for large text 3 to 1; nothing is asked of controls that are off. */
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (element === null || !texts.currentNode.textContent?.trim() || !isShown(element)) continue;
  if (element.closest('.hidden, .skip, :disabled, [aria-disabled="true"]') !== null) continue;
  const style = getComputedStyle(element);
  const background = backgroundOf(element);
  if (background === undefined) continue;
  const [one, other] = [luminance(over(parse(style.color), background)), luminance(background)];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  const size = Number.parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (contrast < (isLarge ? 3 : 4.5)) {
    findings.push(`a contrast of ${contrast.toFixed(2)}: ${describe(element)}`);
  }
}

/** 1.4.10: no scrolling in two directions. */
if (document.documentElement.scrollWidth > innerWidth) {
  findings.push(`wider than the screen: ${document.documentElement.scrollWidth} of ${innerWidth}`);
}

Object.assign(globalThis, { auditFindings: findings });
