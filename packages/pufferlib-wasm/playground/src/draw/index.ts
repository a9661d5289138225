import { acrobot } from "./acrobot.js";
import { bandit } from "./bandit.js";
import { bars } from "./bars.js";
import { cartpole } from "./cartpole.js";
import { catch_ } from "./catch.js";
import { deepSea } from "./deep_sea.js";
import { memory } from "./memory.js";
import { mountainCar } from "./mountain_car.js";
import { PALETTES, Pen } from "./pen.js";
import { pendulum } from "./pendulum.js";
import type { Drawing, Spaces } from "./scene.js";
import { squared } from "./squared.js";

export type { Spaces } from "./scene.js";

/** By environment; any other is drawn as bars. */
const DRAWINGS: Record<string, Drawing> = {
  acrobot,
  bandit,
  cartpole,
  catch: catch_,
  deep_sea: deepSea,
  memory,
  mountain_car: mountainCar,
  mountain_car_continuous: mountainCar,
  pendulum,
  squared,
};

/** Width over height of the drawing of an environment. */
export function aspect(env: string, obs: Float32Array, spaces: Spaces): number {
  const [width, height] = (DRAWINGS[env] ?? bars).size(obs, spaces);
  return width / height;
}

/**
 * Draws an environment as its observation shows it; the geometry is that of Python's `render_rgb`.
 * @param context of a canvas; what it holds is replaced
 * @param width in units of the context's present transformation, and `height`
 * @param obs one row: (obsSize,)
 */
export function draw(
  env: string,
  context: CanvasRenderingContext2D,
  width: number,
  height: number,
  obs: Float32Array,
  spaces: Spaces,
): void {
  const drawing = DRAWINGS[env] ?? bars, palette = PALETTES[spaces.dark ? "dark" : "light"];
  const [w, h] = drawing.size(obs, spaces), scale = Math.min(width / w, height / h);
  context.save();
  context.beginPath();
  context.rect(0, 0, width, height);
  context.clip();
  context.fillStyle = palette.paper;
  context.fillRect(0, 0, width, height);
  context.translate((width - w * scale) / 2, (height - h * scale) / 2);
  context.scale(scale, scale);
  drawing.draw(new Pen(context, palette), obs, spaces);
  context.restore();
}
