// What a TypeScript page sees: compiled against the types that are emitted, never run.
import { load, type Files, type Puffer, type Step } from "pufferlib-wasm";

export async function page(files: Files): Promise<number> {
  const puffer: Puffer = await load();
  const vec = puffer.vec("cartpole", { numEnvs: 4, seed: 1n, autoreset: "next_step" });
  const step: Step = vec.step(new Int32Array(4));
  const run = puffer.train({ env: "catch", catch: { rows: 8 }, policy: { conv: ["8:3:1"] }, ppo: { gamma: 0.98, optimizer: "muon" } });
  const shape: number[] = run.vec.known().obs.shape;
  const metrics: Record<string, number> = run.update();
  const player = await puffer.load(files, { stochastic: true });
  player.load(run.tensors());
  const shared: Puffer = await load({ plain: "puffer.wasm", threads: new URL("https://example.org/puffer-threads.wasm") }, { threads: 2 });
  if (shared.obstacle !== null) console.log(shared.threads, shared.obstacle.length);
  await shared.close();
  // @ts-expect-error: a number
  await load("puffer.wasm", { threads: "2" });
  // @ts-expect-error: not a mode of autoreset
  puffer.vec("cartpole", { autoreset: "never" });
  return run.evaluate({ episodes: 3 }).episode_return_mean + step.finished + shape.length + (metrics["losses/entropy"] ?? 0);
}
