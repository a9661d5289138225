import "./style.css";
import type { Request } from "./protocol.js";
import type { Told } from "./playing.js";
import { el, whole } from "./ui/dom.js";
import { Hand } from "./ui/hand.js";
import { logo } from "./ui/logo.js";
import { Stage } from "./ui/stage.js";
import { Tabs } from "./ui/tabs.js";
import { themeButton } from "./ui/theme.js";

type Policy = Extract<Told, { kind: "policy" }>;

const root = document.querySelector("#app") as HTMLElement;
const worker = new Worker(new URL("./playing.ts", import.meta.url), { type: "module" });
const ask = (request: Request) => worker.postMessage(request);
const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
let stage: Stage | undefined, hand: Hand | undefined;

function begin({ env, config, description, keys, algorithm, steps }: Policy): void {
  const title = env.replaceAll("_", " "), watching = new Stage(ask), playing = new Hand(ask);
  const about = `${description[0]!.toUpperCase()}${description.slice(1)}. A policy that ${algorithm.toUpperCase()} has trained for ${whole(steps)} steps plays.`;
  const again = () => (watching.element.hidden ? playing.begin(env, config) : watching.watch());
  const restart = el("button", { type: "button", id: "restart", onclick: again }, "Restart");
  const show = (chosen: string) => (chosen === "You play" ? playing.begin(env, config) : playing.end());
  const tabs = new Tabs("Agents", { Watch: watching.element, ...(keys ? { "You play": playing.element } : {}) }, show);
  const header = el("header", {}, logo(), el("h1", {}, title, " ", el("span", {}, "played by a policy")), el("p"), themeButton());
  const note = el("p", { class: "hint" }, "It acts in this tab, as WebAssembly; nothing is sent anywhere. “Greedy” takes the most likely action, “sampled” acts as in training.");
  tabs.element.append(el("div", { class: "row" }, restart), wrong);
  document.title = `${title}, played by a policy`;
  root.replaceChildren(header, el("p", {}, about), tabs.element, note);
  stage = watching;
  hand = playing;
  stage.watch();
  root.dataset.state = "playing";
}

function complain(message: string): void {
  wrong.textContent = message;
  wrong.hidden = false;
  if (!stage) root.replaceChildren(el("p", { class: "card wrong", role: "alert" }, `The policy cannot be shown: ${message}`));
}

worker.onmessage = ({ data }: MessageEvent<Told>) => {
  if (data.kind === "policy") begin(data);
  else if (data.kind === "frame") stage?.show(data.seen);
  else if (data.kind === "playing") hand?.ready(data.keys, data.seen);
  else if (data.kind === "played") hand?.show(data.seen, data.ended);
  else complain(data.message);
};
worker.onerror = () => complain("its worker does not load; is the page served by a web server, and whole?");
ask({ kind: "open", base: new URL("./", location.href).href });
