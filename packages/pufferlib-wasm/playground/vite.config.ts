import { defineConfig } from "vite";
import { offline } from "./offline.js";

/** Pages of the site; another one needs its line here. */
const PAGES = ["index.html", "play.html"];

/** What shared memory between workers asks of a server. */
const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

export default defineConfig({
  base: "./", // the folder works under any address
  plugins: [offline()],
  worker: { format: "es" },
  build: { target: "es2022", rollupOptions: { input: PAGES } },
  server: { headers },
  preview: { headers },
});
