import "./style.css";
import { keepOffline } from "./offline.js";
import type { Report, Request } from "./protocol.js";
import { App } from "./ui/app.js";
import { el } from "./ui/dom.js";

const root = document.querySelector("#app") as HTMLElement;
const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const ask = (request: Request) => worker.postMessage(request);
let app: App | undefined;

const fail = (why: string) => root.replaceChildren(el("p", { class: "card wrong", role: "alert" }, `The playground cannot start: ${why}`));

function start(report: Extract<Report, { kind: "ready" }>): void {
  app = new App(root, ask, report);
  const notice = document.querySelector("#notice") as HTMLElement;
  // After all else, whose way the worker's copies shall not be in. A browser may refuse it; the page needs a network then.
  if (import.meta.env.PROD) keepOffline(notice).catch(() => {});
}

worker.onmessage = ({ data }: MessageEvent<Report>) => {
  if (app) app.hear(data);
  else if (data.kind === "ready") start(data);
  else if (data.kind === "error") fail(data.message);
};
worker.onerror = () => app ?? fail("its worker does not load; is the page served by a web server, and whole?");
ask({ kind: "open", base: new URL("./", location.href).href });
