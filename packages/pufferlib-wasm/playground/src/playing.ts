import { PufferError, type Files, type Puffer } from "pufferlib-wasm";
import { makePuffer, type Kind } from "./module.js";
import type { Keys, Report, Request } from "./protocol.js";
import { Agents, keysOf, Watching } from "./watching.js";

/** What a page with one policy asks: as the playground does. */
export type Wish = Extract<Request, { kind: "open" | "watch" | "frame" | "play" | "act" }>;

/** What it is told. */
export type Told =
  | { kind: "policy"; env: string; config: Record<string, any>; description: string; keys: Keys; algorithm: string; steps: number; module: Kind }
  | Extract<Report, { kind: "frame" | "playing" | "played" }>
  | { kind: "error"; of: Wish["kind"]; message: string };

const scope = self as unknown as DedicatedWorkerGlobalScope;
const tell = (told: Told) => scope.postMessage(told);

let puffer: Puffer | undefined;
let files: Files;
let agents: Agents | undefined;
let hand: Watching | undefined;
let games = 0; // each is another one, and the first the same for everybody

type Handlers = { [K in Wish["kind"]]: (wish: Extract<Wish, { kind: K }>) => void | Promise<void> };

const handlers: Handlers = {
  async open({ base }) {
    let module: Kind = "simd";
    try {
      puffer = await makePuffer(module, base);
    } catch (error) {
      if (!(error instanceof WebAssembly.CompileError)) throw error; // else an engine without vectors
      puffer = await makePuffer((module = "scalar"), base);
    }
    files = await fetched(new URL("checkpoint/", base));
    const { vec } = await puffer.load(files), { env, config } = vec, { algorithm, step: steps } = manifestOf(files);
    const { description } = puffer.catalogue.environments[env]!;
    tell({ kind: "policy", env, config, description, keys: keysOf(puffer, vec), algorithm, steps, module });
  },
  async watch({ numEnvs, stochastic }) {
    agents = new Agents(await here().load(files, { numEnvs, stochastic, seed: games++ }));
  },
  frame() {
    if (agents) tell({ kind: "frame", seen: agents.step() });
  },
  play({ env, config, seed }) {
    const vec = here().vec(env, { seed, config });
    vec.reset();
    hand = new Watching(vec);
    tell({ kind: "playing", keys: keysOf(here(), vec), seen: hand.seen(false) });
  },
  act({ action }) {
    if (hand) tell({ kind: "played", ...hand.act(action) });
  },
};

function here(): Puffer {
  if (!puffer) throw new PufferError("there is no policy here");
  return puffer;
}

const manifestOf = (all: Files) => JSON.parse(new TextDecoder().decode(all.get("manifest.json")));

/** The files of a checkpoint folder: those that its manifest names. */
async function fetched(folder: URL): Promise<Files> {
  const get = async (name: string): Promise<[string, Uint8Array]> => {
    const response = await fetch(new URL(name, folder));
    if (!response.ok) throw new PufferError(`checkpoint/${name}: ${response.status} ${response.statusText}: this page shows the policy of a checkpoint beside it`);
    return [name, new Uint8Array(await response.arrayBuffer())];
  };
  const manifest = await get("manifest.json");
  const names = Object.keys(manifestOf(new Map([manifest])).files);
  return new Map([manifest, ...(await Promise.all(names.map(get)))]);
}

let last: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }: MessageEvent<Wish>) => {
  const handle = handlers[data.kind] as (wish: Wish) => void | Promise<void>;
  last = last.then(() => handle(data)).catch((error: Error) => tell({ kind: "error", of: data.kind, message: error.message }));
};
