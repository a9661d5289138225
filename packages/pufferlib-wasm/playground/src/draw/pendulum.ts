import type { Point } from "./pen.js";
import type { Drawing } from "./scene.js";

const SIDE = 500, MIDDLE = SIDE / 2, ROD = 150;

/** A rod from its axle, and the torque on it as an arc: cosine, sine (positive to the left), speed. */
export const pendulum: Drawing = {
  size: () => [SIDE, SIDE],
  draw(pen, obs, { acted, config }) {
    const { blue, faint, ink, red } = pen.palette;
    const axle: Point = [MIDDLE, MIDDLE], tip: Point = [MIDDLE - ROD * obs[1]!, MIDDLE - ROD * obs[0]!];
    pen.line([axle, [MIDDLE, MIDDLE - ROD - 30]], 2, faint);
    pen.line([axle, tip], 26, red);
    pen.disc(axle, 6, ink);
    if (!acted) return;
    const part = Math.max(-1, Math.min(1, acted.action[0]! / config.max_torque));
    const arc = Array.from({ length: 25 }, (_, k): Point => {
      const angle = (part * 1.2 * k) / 24; // from the top, to the left where positive
      return [MIDDLE - 205 * Math.sin(angle), MIDDLE - 205 * Math.cos(angle)];
    });
    pen.line(arc, 8, blue);
  },
};
