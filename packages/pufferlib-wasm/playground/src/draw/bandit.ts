import type { Drawing } from "./scene.js";

const ARM = 46, HEIGHT = 160;

/** A lever for each arm; the one that was pulled is down, green where it paid. An observation says nothing. */
export const bandit: Drawing = {
  size: (_, { config }) => [ARM * config.arms, HEIGHT],
  draw(pen, _, { acted, config }) {
    const { blue, faint, green, ink, red, soft } = pen.palette;
    for (let arm = 0; arm < config.arms; arm++) {
      const pulled = acted?.action[0] === arm, x = ARM * (arm + 0.5);
      const color = pulled ? (acted.reward > 0 ? green : red) : soft;
      pen.box(x - 17, 66, 34, 66, pulled ? color : faint, 7);
      pen.line([[x, 80], [x, pulled ? 108 : 40]], 6, pulled ? ink : soft);
      pen.disc([x, pulled ? 110 : 34], 10, pulled ? ink : blue);
      pen.text(String(arm), [x, 142], 13, soft);
    }
  },
};
