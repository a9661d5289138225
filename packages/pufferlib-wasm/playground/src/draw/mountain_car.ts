import type { Point } from "./pen.js";
import type { Drawing } from "./scene.js";

const WIDTH = 600, HEIGHT = 400, LEFT = -1.2, RIGHT = 0.6, STEPS = 60;

/** A place above the hill, which is a sine. */
function at(x: number, above = 0): Point {
  return [((x - LEFT) / (RIGHT - LEFT)) * WIDTH, 380 - (Math.sin(3 * x) * 0.45 + 0.55) * 300 - above];
}

/** The hill, the flag at the goal and the car, of both mountain cars: position, velocity. */
export const mountainCar: Drawing = {
  size: () => [WIDTH, HEIGHT],
  draw(pen, obs, { config }) {
    const { blue, faint, ink, soft, yellow } = pen.palette;
    const hill = Array.from({ length: STEPS + 1 }, (_, k) => at(LEFT + ((RIGHT - LEFT) * k) / STEPS));
    pen.shape([...hill, [WIDTH, HEIGHT], [0, HEIGHT]], faint);
    pen.line(hill, 3, soft);
    const foot = at(config.goal_position), [x, y] = at(config.goal_position, 56);
    pen.line([foot, [x, y]], 3, ink);
    pen.shape([[x, y], [x + 30, y + 9], [x, y + 18]], yellow);
    pen.disc(at(obs[0]!, 15), 15, blue);
  },
};
