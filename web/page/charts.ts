import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { h, setText } from './dom.ts';

export interface ChartOptions {
  title: string;
  /** What the values mean; stands under the chart. */
  hint: string;
  format: (value: number) => string;
  /** So many values are kept. */
  length: number;
  /** `line`: a value for every second. `bars`: one for every upload. */
  kind: 'line' | 'bars';
}

export interface Chart {
  element: HTMLElement;
  push(value: number): void;
}

const HEIGHT = 56;

/**
 * A small chart with its last value as text: the drawing is hidden from screen readers, which get the last and the
 * highest value instead.
 */
export function createChart({ title, hint, format, length, kind }: ChartOptions): Chart {
  const value = h('p', { class: 'value' }, kind === 'line' ? format(0) : '–');
  const note = h('p', { class: 'hint' }, hint);
  const drawing = h('div', { class: 'drawing', 'aria-hidden': 'true' });
  const element = h('section', { class: 'chart' }, h('h2', {}, title), value, drawing, note);
  let values: number[] = kind === 'line' ? new Array<number>(length).fill(0) : [];

  const color = (name: string) => getComputedStyle(element).getPropertyValue(name).trim();
  const series: uPlot.Series = {
    stroke: () => color('--accent'),
    fill: () => color(kind === 'bars' ? '--accent' : '--accent-soft'),
    width: 1.5,
    points: { show: false },
  };
  const paths = kind === 'bars' ? uPlot.paths.bars?.({ size: [0.7, 12] }) : undefined;
  if (paths !== undefined) series.paths = paths;
  const data = (): uPlot.AlignedData => [Array.from({ length }, (_, index) => index), padded()];
  /** From the right: the newest value is always at the same place. */
  const padded = () => [...new Array<null>(length - values.length).fill(null), ...values];
  const plot = new uPlot(
    {
      width: 240,
      height: HEIGHT,
      padding: [4, 0, 2, 0],
      cursor: { show: false },
      legend: { show: false },
      axes: [{ show: false }, { show: false }],
      scales: { x: { time: false }, y: { range: (_self, _min, max) => [0, max > 0 ? max * 1.15 : 1] } },
      series: [{}, series],
    },
    data(),
    drawing,
  );
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry?.contentRect.width ?? 0);
    if (width > 0) plot.setSize({ width, height: HEIGHT });
  }).observe(drawing);
  // Its colours are read when it is drawn.
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => plot.redraw());

  return {
    element,
    push(newest) {
      values = [...values, newest].slice(-length);
      plot.setData(data());
      setText(value, format(newest));
      const highest = Math.max(...values);
      setText(note, highest > 0 ? `${hint}, at most ${format(highest)}` : hint);
    },
  };
}
