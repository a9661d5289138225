import type { Report, Request } from "./protocol.js";

const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const ask = (request: Request) => worker.postMessage(request);
const app = document.querySelector("#app") as HTMLElement;

worker.onmessage = ({ data }: MessageEvent<Report>) => {
  if (data.kind === "ready") ask({ kind: "start", settings: { env: "cartpole", seed: 1 } });
  app.textContent = JSON.stringify(data);
};
ask({ kind: "open", base: new URL("./", location.href).href });
