import type { Puffer, Run } from "pufferlib-wasm";
import { makePuffer } from "./module.js";
import type { Report, Request } from "./protocol.js";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const tell = (report: Report) => scope.postMessage(report);

let puffer: Puffer | undefined;
let run: Run | undefined;
let going = false;

/** One update, then whatever messages have come, then the next. */
function slice(): void {
  if (!going || !run || run.done) return;
  const metrics = run.update();
  tell({ kind: "metrics", steps: run.steps, done: run.done, metrics });
  setTimeout(slice);
}

async function answer(request: Request): Promise<void> {
  if (request.kind === "open") {
    puffer = await makePuffer("simd", request.base);
    tell({ kind: "ready", environments: puffer.environments });
    return;
  }
  if (!puffer) throw new Error("the module is not open yet");
  if (request.kind === "start") run = puffer.train(request.settings);
  going = request.kind !== "pause";
  slice();
}

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  answer(data).catch((error: Error) => tell({ kind: "error", message: error.message }));
};
