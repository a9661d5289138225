import type { Catalogue } from "pufferlib-wasm";
import type { Kind, Means } from "../module.js";
import type { Options, Point, Report, Request, Standing } from "../protocol.js";
import { Chart } from "./chart.js";
import { Checkpoint } from "./checkpoint.js";
import { Controls } from "./controls.js";
import { choice, el } from "./dom.js";
import { Form } from "./form.js";
import { Hand } from "./hand.js";
import { logo } from "./logo.js";
import { Stage } from "./stage.js";
import { Tabs } from "./tabs.js";
import { themeButton } from "./theme.js";
import { ThreadsField } from "./threads.js";
import { Versus } from "./versus.js";

const FIRST = "cartpole";
const WIDE = "(min-width: 900px)";
const MODULES = [["simd", "on"], ["scalar", "off"]] as const;
const FORMS: Request["kind"][] = ["prepare", "compare"]; // what settings go with

/** The page: it draws what the worker tells, and asks for what people want. */
export class App {
  #catalogue: Catalogue;
  #options: Record<string, Options>;
  #env: HTMLSelectElement;
  #module: HTMLSelectElement;
  #threads: ThreadsField;
  #about = el("p", { class: "hint" });
  #slot = el("div");
  #pending = el("p", { class: "pending", "aria-live": "polite", hidden: true }, "Changes are for the next run: “Restart” begins it.");
  #made = ""; // what the run was made of
  #form!: Form;
  #controls: Controls;
  #stage: Stage;
  #hand: Hand;
  #versus: Versus;
  #chart = new Chart();
  #checkpoint: Checkpoint;
  #tabs: Tabs;
  #points: Point[] = [];
  #standing: Standing = { steps: 0, going: false, done: false };
  #total = 1;
  #goes = false; // the run that is being made starts at once

  constructor(
    root: HTMLElement,
    readonly ask: (request: Request) => void,
    { catalogue, modules, options, threads }: Extract<Report, { kind: "ready" }>,
  ) {
    this.#catalogue = catalogue;
    this.#options = options;
    const names = Object.keys(catalogue.environments).map((name) => [name, name.replaceAll("_", " ")] as const);
    this.#env = choice({ id: "env", onchange: () => this.#choose(this.#env.value) }, names);
    this.#module = choice({ id: "module", onchange: () => this.#changed() }, MODULES.filter(([kind]) => modules.includes(kind)));
    this.#threads = new ThreadsField(threads, () => this.#changed());
    const restart = () => {
      this.#goes = true;
      this.#prepare();
    };
    const go = () => {
      if (this.#standing.steps === 0 && this.#asked !== this.#made) restart(); // what was asked for could not be made
      else ask({ kind: "go" });
    };
    this.#controls = new Controls({
      go,
      pause: () => ask({ kind: "pause" }),
      step: () => ask({ kind: "step" }),
      extend: () => {
        this.#goes = true;
        ask({ kind: "extend" });
      },
      restart,
    });
    this.#stage = new Stage(ask);
    this.#hand = new Hand(ask);
    this.#versus = new Versus(ask, () => this.#form.settings, threads);
    if (modules.length < 2) this.#versus.disable();
    this.#checkpoint = new Checkpoint(ask, (files) => ask({ kind: "resume", files, means: this.#means }));
    this.#tabs = new Tabs("Agents", { Watch: this.#stage.element, Play: this.#hand.element, SIMD: this.#versus.element }, (title) => this.#show(title));
    const settings = el(
      "details",
      { class: "settings", open: matchMedia(WIDE).matches },
      el("summary", {}, el("h2", {}, "Settings")),
      el("div", { class: "field" }, el("label", { for: "module" }, "SIMD"), this.#module, el("small", {}, "128-bit vectors of WebAssembly")),
      this.#threads.element,
      this.#slot,
      this.#pending,
      el("div", { class: "row" }, el("button", { type: "button", onclick: () => this.#reset() }, "Back to the preset")),
    );
    const about = el("div", { class: "field" }, el("label", { for: "env" }, "Environment"), this.#env);
    const setup = el("section", { class: "card setup", "aria-label": "Set up" }, about, this.#about, settings);
    const header = el("header", {}, logo(), el("h1", {}, "pufferlib ", el("span", {}, "playground")), el("p", {}, "Reinforcement learning, trained in this tab."), themeButton());
    root.replaceChildren(header, setup, this.#controls.element, this.#tabs.element, this.#chart.element, this.#checkpoint.element);
    this.#env.value = FIRST;
    this.#choose(FIRST);
  }

  get #means(): Means {
    const module = this.#module.value as Kind;
    return { module, threads: module === "simd" ? this.#threads.value : 1 };
  }

  get #title(): string {
    return Object.entries(this.#tabs.panels).find(([, panel]) => !panel.hidden)![0];
  }

  /** What a run would be made of now. */
  get #asked(): string {
    return JSON.stringify([this.#form.settings, this.#means]);
  }

  /** What the worker tells. */
  hear(report: Report): void {
    switch (report.kind) {
      case "run":
        return this.#begin(report);
      case "progress":
        this.#points.push(...report.points);
        this.#chart.add(report.points);
        return this.#stand(report.standing);
      case "frame":
        return this.#stage.show(report.seen);
      case "playing":
        return this.#hand.ready(report.keys, report.seen);
      case "played":
        return this.#hand.show(report.seen, report.ended);
      case "compared":
        return this.#versus.show(report.speeds, report.over);
      case "saved":
        return this.#checkpoint.saved(report);
      case "evaluated":
        return this.#checkpoint.evaluated(report);
      case "error":
        return this.#fail(report.of, report.message);
    }
  }

  #stand(standing: Standing): void {
    this.#standing = standing;
    this.#controls.show(standing, this.#total, this.#points);
  }

  /** Another environment, with its preset. */
  #choose(env: string): void {
    const { description, preset } = this.#catalogue.environments[env]!;
    this.#form = new Form(env, this.#options[env]!, preset, () => this.#changed());
    this.#slot.replaceChildren(this.#form.element);
    this.#about.textContent = `${description[0]!.toUpperCase()}${description.slice(1)}.`;
    this.#goes = false;
    this.#prepare();
  }

  #reset(): void {
    this.#form.reset();
    this.#changed();
  }

  /** A run that has not begun is made anew with what was changed; another one goes on as it is. */
  #changed(): void {
    this.#threads.element.hidden = this.#module.value !== "simd";
    if (this.#standing.steps === 0) this.#prepare();
    else this.#pending.hidden = this.#asked === this.#made;
  }

  #prepare(): void {
    this.#form.complain("");
    this.#controls.warn("");
    this.#versus.stop();
    this.ask({ kind: "prepare", settings: this.#form.settings, means: this.#means });
  }

  #begin({ plays, resumed, settings, standing, threads }: Extract<Report, { kind: "run" }>): void {
    const { env } = settings, before = this.#points.at(-1), goesOn = resumed && this.#goes && before?.steps === standing.steps;
    if (env !== this.#form.env) {
      this.#env.value = env;
      const { preset } = this.#catalogue.environments[env]!;
      this.#form = new Form(env, this.#options[env]!, preset, () => this.#changed());
      this.#slot.replaceChildren(this.#form.element);
      this.#about.textContent = this.#catalogue.environments[env]!.description;
    }
    if (resumed) this.#form.fill(settings);
    this.#made = this.#asked;
    this.#pending.hidden = true;
    this.#controls.warn("");
    this.#total = settings.train?.timesteps ?? 1;
    if (!goesOn) {
      this.#points = [];
      this.#chart.clear(settings.train?.stop_return ?? null);
      this.#checkpoint.clear();
    }
    this.#controls.threads = threads;
    this.#stand(standing);
    this.#controls.enable(plays === null);
    this.#checkpoint.enable(plays === null);
    if (plays !== null) this.#controls.say(`This policy plays, but cannot go on learning here: ${plays}`);
    else if (resumed && !goesOn) this.#controls.say(`A checkpoint after ${standing.steps} steps: it goes on from here.`);
    this.#stage.watch();
    this.#show(this.#title);
    if (this.#goes && plays === null) this.ask({ kind: "go" });
    this.#goes = false;
  }

  #show(title: string): void {
    if (!this.#form) return;
    if (title !== "SIMD") this.#versus.stop();
    if (title !== "Play") return this.#hand.end();
    this.#hand.begin(this.#form.env, this.#form.config);
  }

  #fail(of: Request["kind"], message: string): void {
    this.#goes = false;
    if (FORMS.includes(of)) this.#form.complain(message);
    if (of === "compare") this.#versus.stop();
    this.#controls.warn(message);
  }
}
