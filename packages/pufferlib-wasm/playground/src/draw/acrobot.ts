import type { Point } from "./pen.js";
import type { Drawing } from "./scene.js";

const SIDE = 500, MIDDLE = SIDE / 2, LINK = 113;

/** Two links from a fixed joint and the bar to reach: cosine and sine of the first joint, then of the second, then speeds. */
export const acrobot: Drawing = {
  size: () => [SIDE, SIDE],
  draw(pen, obs) {
    const { blue, green, violet, yellow } = pen.palette;
    const first = Math.atan2(obs[1]!, obs[0]!), both = first + Math.atan2(obs[3]!, obs[2]!);
    const joint: Point = [MIDDLE, MIDDLE];
    const elbow: Point = [MIDDLE + LINK * Math.sin(first), MIDDLE + LINK * Math.cos(first)];
    const tip: Point = [elbow[0] + LINK * Math.sin(both), elbow[1] + LINK * Math.cos(both)];
    pen.line([[0, MIDDLE - LINK], [SIDE, MIDDLE - LINK]], 3, green);
    pen.line([joint, elbow], 18, blue);
    pen.line([elbow, tip], 18, violet);
    for (const at of [joint, elbow]) pen.disc(at, 9, yellow);
  },
};
