import type { Drawing } from "./scene.js";

const WIDTH = 300, HEIGHT = 200, MOST = 64;

/** Any observation: a bar for each of its first numbers, up or down from the middle; the largest reaches the edge. */
export const bars: Drawing = {
  size: () => [WIDTH, HEIGHT],
  draw(pen, obs) {
    const { blue, faint, red } = pen.palette;
    const shown = Array.from(obs.subarray(0, MOST), (x) => (Number.isFinite(x) ? x : 0));
    const most = Math.max(1, ...shown.map(Math.abs)), step = WIDTH / shown.length, middle = HEIGHT / 2;
    pen.line([[0, middle], [WIDTH, middle]], 1, faint);
    shown.forEach((x, k) => {
      const tall = (Math.abs(x) / most) * (middle - 8);
      pen.box(k * step + step * 0.15, x > 0 ? middle - tall : middle, step * 0.7, tall, x > 0 ? blue : red, Math.min(3, step / 4));
    });
  },
};
