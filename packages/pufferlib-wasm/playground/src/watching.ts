import type { Player, Puffer, Vec } from "pufferlib-wasm";
import type { Keys, Seen } from "./protocol.js";

/** Environments that are seen, with what each has earned in its episode. */
export class Watching {
  #total: number[];
  #over: boolean[];

  constructor(readonly vec: Vec) {
    this.#total = new Array<number>(vec.numEnvs).fill(0);
    this.#over = this.#total.map(() => false);
  }

  /** What is to be seen after a step of the environments, or before the first one. */
  seen(acted: boolean): Seen {
    const { env, config, numEnvs: agents } = this.vec, { obs, reward, terminated, truncated } = this.vec.latest();
    if (acted) this.#total = this.#total.map((total, k) => (this.#over[k] ? 0 : total) + reward[k]!);
    this.#over = this.#over.map((_, k) => acted && (terminated[k] === 1 || truncated[k] === 1));
    const [action, rewards] = acted ? [Array.from(this.vec.action), Array.from(reward)] : [[], []];
    return { env, config, agents, obs: obs.slice(), action, reward: rewards, total: this.#total };
  }

  /** One action of a person; `ended`: the episode of the first one is over with it. */
  act(action: number): { seen: Seen; ended: boolean } {
    this.vec.step(new Array<number>(this.vec.action.length).fill(action));
    return { seen: this.seen(true), ended: this.#over[0]! };
  }
}

/** Agents of a policy that are seen. */
export class Agents {
  #watching: Watching;

  constructor(readonly player: Player) {
    this.#watching = new Watching(player.vec);
  }

  step(): Seen {
    this.player.step();
    return this.#watching.seen(true);
  }
}

/** The keys of an environment whose actions there are: settings may leave fewer choices than the defaults. */
export function keysOf({ catalogue }: Puffer, { env, spaces }: Vec): Keys {
  const keys = catalogue.environments[env]!.keys, choices = spaces.actions?.[0] ?? Infinity;
  return keys && { ...keys, actions: Object.fromEntries(Object.entries(keys.actions).filter(([, action]) => action < choices)) };
}
