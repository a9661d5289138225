import { PufferError, type Puffer, type Settings } from "pufferlib-wasm";
import { pack, unpack } from "./archive.js";
import { Comparison } from "./comparison.js";
import { makePuffer, type Kind } from "./module.js";
import type { Report, Request } from "./protocol.js";
import { Training } from "./training.js";
import { Agents, keysOf, Watching } from "./watching.js";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const tell = (report: Report) => scope.postMessage(report);

const puffers: Partial<Record<Kind, Puffer>> = {};
let training: Training | undefined;
let guest: ((numEnvs: number, stochastic: boolean) => Promise<Agents>) | undefined; // policy that cannot go on learning here
let visitor: Agents | undefined;
let hand: Watching | undefined;
let comparison: Comparison | undefined;

type Handlers = { [K in Request["kind"]]: (request: Extract<Request, { kind: K }>) => void | Promise<void> };

const handlers: Handlers = {
  async open({ base }) {
    for (const kind of ["simd", "scalar"] as const) {
      try {
        puffers[kind] = await makePuffer(kind, base);
      } catch (error) {
        if (!(error instanceof WebAssembly.CompileError)) throw error; // else an engine without vectors
      }
    }
    const puffer = any(), options = Object.fromEntries(puffer.environments.map((env) => [env, puffer.options(env)]));
    tell({ kind: "ready", catalogue: puffer.catalogue, options, modules: Object.keys(puffers) as Kind[] });
  },
  prepare({ settings, module }) {
    begin(new Training(of(module).train(settings), module, tell), false);
  },
  async resume({ files: given, module }) {
    const files = unpack(given);
    try {
      begin(new Training(await of(module).resume(files), module, tell), true);
    } catch (error) {
      if (!(error instanceof PufferError)) throw error;
      await invite(files, of(module), error.message);
    }
  },
  go: () => now().go(),
  pause: () => training?.pause(),
  step: () => now().step(),
  async extend() {
    const { busy, module, run } = now(), timesteps = run.steps + run.settings.train.timesteps;
    const files = await run.checkpoint();
    begin(new Training(await of(module).resume(files, { train: { timesteps, stop_return: null } }), module, tell, busy), true);
  },
  async watch({ numEnvs, stochastic }) {
    if (guest) visitor = await guest(numEnvs, stochastic);
    else training?.watch(numEnvs, stochastic);
  },
  frame() {
    const seen = visitor ? visitor.step() : training?.frame();
    if (seen) tell({ kind: "frame", seen });
  },
  evaluate({ episodes }) {
    const { episode_return_mean: mean, episode_return_std: deviation, episode_length_mean: length } = now().run.evaluate({ episodes });
    tell({ kind: "evaluated", episodes, mean, deviation, length });
  },
  async save() {
    const { run } = now(), { steps, settings: { env } } = run, folder = `${env}-${steps}`;
    tell({ kind: "saved", name: `${folder}.zip`, env, steps, zip: pack(folder, await run.checkpoint()) });
  },
  play({ env, config, seed }) {
    const vec = any().vec(env, { seed, config });
    vec.reset();
    hand = new Watching(vec);
    tell({ kind: "playing", keys: keysOf(any(), vec), seen: hand.seen(false) });
  },
  act({ action }) {
    if (hand) tell({ kind: "played", ...hand.act(action) });
  },
  compare({ settings, seconds }) {
    training?.pause();
    comparison?.stop();
    comparison = new Comparison(puffers as Record<Kind, Puffer>, settings, seconds, tell);
  },
  "stop comparing": () => comparison?.stop(),
};

function of(module: Kind): Puffer {
  const puffer = puffers[module];
  if (!puffer) throw new PufferError(`this browser does not run the module ${module}: choose another one`);
  return puffer;
}

function any(): Puffer {
  return puffers.simd ?? of("scalar");
}

function now(): Training {
  if (!training) throw new PufferError("there is no run: choose an environment, or load a checkpoint that can go on");
  return training;
}

/** Another run takes the place of the one before. */
function begin(next: Training, resumed: boolean): void {
  training?.pause();
  training = next;
  guest = visitor = undefined;
  tell({ kind: "run", settings: next.run.settings as Settings, standing: next.standing, resumed, plays: null });
}

/** A policy that cannot go on learning here plays. */
async function invite(files: Map<string, Uint8Array>, puffer: Puffer, reason: string): Promise<void> {
  const first = await puffer.load(files);
  training?.pause();
  training = undefined;
  visitor = new Agents(first);
  guest = async (numEnvs, stochastic) => new Agents(await puffer.load(files, { numEnvs, stochastic }));
  const { env, config } = first.vec, standing = { steps: 0, going: false, done: true };
  tell({ kind: "run", settings: { env, [env]: config }, standing, resumed: true, plays: reason });
}

let last: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  const handle = handlers[data.kind] as (request: Request) => void | Promise<void>;
  last = last.then(() => handle(data)).catch((error: Error) => tell({ kind: "error", of: data.kind, message: error.message }));
};
