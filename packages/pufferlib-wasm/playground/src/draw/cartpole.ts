import type { Drawing } from "./scene.js";

const WIDTH = 600, HEIGHT = 360, TRACK = 280;

/** A cart on its track, which ends where the episode does, and the pole on it: x, (velocity,) theta, (velocity). */
export const cartpole: Drawing = {
  size: () => [WIDTH, HEIGHT],
  draw(pen, obs, { config }) {
    const { faint, ink, soft, violet, wood } = pen.palette;
    const limit: number = config.x_limit, x = obs[0]!, theta = obs[obs.length / 2]!;
    const scale = WIDTH / (2 * limit), cart = x * scale + WIDTH / 2, long = Math.min(2 * config.length, 1.1) * 125;
    pen.line([[WIDTH / 2, TRACK - 4], [WIDTH / 2, TRACK + 12]], 3, faint);
    pen.line([[0, TRACK], [WIDTH, TRACK]], 3, soft);
    pen.box(cart - 34, TRACK - 30, 68, 34, ink, 7);
    const axle = [cart, TRACK - 20] as const;
    pen.line([axle, [axle[0] + long * Math.sin(theta), axle[1] - long * Math.cos(theta)]], 13, wood);
    pen.disc(axle, 6, violet);
  },
};
