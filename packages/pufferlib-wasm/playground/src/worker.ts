import { PufferError, type Puffer, type Run, type Settings } from "pufferlib-wasm";
import { pack, unpack } from "./archive.js";
import { Comparison } from "./comparison.js";
import { Modules, type Means } from "./module.js";
import type { Report, Request } from "./protocol.js";
import { Training } from "./training.js";
import { Agents, keysOf, Watching } from "./watching.js";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const tell = (report: Report) => scope.postMessage(report);

let modules: Modules;
let training: Training | undefined;
let guest: ((numEnvs: number, stochastic: boolean) => Promise<Agents>) | undefined; // policy that cannot go on learning here
let visitor: Agents | undefined;
let hand: Watching | undefined;
let comparison: Comparison | undefined;

type Handlers = { [K in Request["kind"]]: (request: Extract<Request, { kind: K }>) => void | Promise<void> };

const handlers: Handlers = {
  async open({ base }) {
    modules = await Modules.open(base);
    const { any, kinds, most, obstacle } = modules, options = Object.fromEntries(any.environments.map((env) => [env, any.options(env)]));
    tell({ kind: "ready", catalogue: any.catalogue, options, modules: kinds, threads: { most, obstacle } });
  },
  async prepare({ settings, means }) {
    begin(await make(means, (puffer) => puffer.train(settings)), false);
  },
  async resume({ files: given, means }) {
    const files = unpack(given);
    try {
      begin(await make(means, (puffer) => puffer.resume(files)), true);
    } catch (error) {
      if (!(error instanceof PufferError)) throw error;
      await invite(files, await modules.get({ ...means, threads: 1 }), error.message);
    }
  },
  go: () => now().go(),
  pause: () => training?.pause(),
  step: () => now().step(),
  async extend() {
    const { busy, means, run } = now(), timesteps = run.steps + run.settings.train.timesteps;
    const files = await run.checkpoint();
    begin(await make(means, (puffer) => puffer.resume(files, { train: { timesteps, stop_return: null } }), busy), true);
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
    const vec = modules.any.vec(env, { seed, config });
    vec.reset();
    hand = new Watching(vec);
    tell({ kind: "playing", keys: keysOf(modules.any, vec), seen: hand.seen(false) });
  },
  act({ action }) {
    if (hand) tell({ kind: "played", ...hand.act(action) });
  },
  async compare({ settings, threads, seconds }) {
    training?.pause();
    comparison?.stop();
    const sharing: { threads?: Puffer } = threads > 1 ? { threads: await modules.get({ module: "simd", threads }) } : {};
    try {
      comparison = new Comparison({ ...sharing, ...modules.plain }, settings, seconds, tell);
    } catch (error) {
      await sharing.threads?.close();
      throw error;
    }
  },
  "stop comparing": () => comparison?.stop(),
};

/** A run, and the workers that share its work: those of the run before where it has as many. */
async function make(means: Means, from: (puffer: Puffer) => Run | Promise<Run>, busy = 0): Promise<Training> {
  const before = training?.puffer, same = before?.threads === means.threads && means.threads > 1;
  const puffer = same ? before : await modules.get(means);
  try {
    return new Training(await from(puffer), puffer, means, tell, busy);
  } catch (error) {
    if (!same) await puffer.close();
    throw error;
  }
}

function now(): Training {
  if (!training) throw new PufferError("there is no run: choose an environment, or load a checkpoint that can go on");
  return training;
}

/** Another run takes the place of the one before. */
function begin(next: Training, resumed: boolean): void {
  training?.pause();
  if (training?.puffer !== next.puffer) training?.end();
  training = next;
  guest = visitor = undefined;
  const { puffer: { threads }, run: { settings }, standing } = next;
  tell({ kind: "run", settings: settings as Settings, standing, threads, resumed, plays: null });
}

/** A policy that cannot go on learning here plays. */
async function invite(files: Map<string, Uint8Array>, puffer: Puffer, reason: string): Promise<void> {
  const first = await puffer.load(files);
  training?.pause();
  training?.end();
  training = undefined;
  visitor = new Agents(first);
  guest = async (numEnvs, stochastic) => new Agents(await puffer.load(files, { numEnvs, stochastic }));
  const { env, config } = first.vec, standing = { steps: 0, going: false, done: true };
  tell({ kind: "run", settings: { env, [env]: config }, standing, threads: 1, resumed: true, plays: reason });
}

let last: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  const handle = handlers[data.kind] as (request: Request) => void | Promise<void>;
  last = last.then(() => handle(data)).catch((error: Error) => tell({ kind: "error", of: data.kind, message: error.message }));
};
