// Keeps one build of the page, whole, for when there is no network. A classic script: the build defines FILES and VERSION.

/** The digest of each file of the build, by its address within the folder of the page, which itself is "". */
declare const FILES: Record<string, string>;
declare const VERSION: string;

const scope = self as unknown as ServiceWorkerGlobalScope;
const folder = scope.registration.scope;
const ours = `playground ${folder} `; // other folders of the server may have playgrounds of their own
const name = ours + VERSION;

/** The name in FILES of what an address means; null: not one of them. */
function kept(url: string): string | null {
  const address = url.split(/[?#]/)[0]!, file = address.slice(folder.length);
  if (!address.startsWith(folder)) return null;
  return file === "index.html" ? "" : Object.hasOwn(FILES, file) ? file : null;
}

/** All files or none: digests keep out a build that is being replaced at this moment. Headers stay, and isolation with them. */
async function install(): Promise<void> {
  const cache = await caches.open(name);
  await cache.addAll(Object.entries(FILES).map(([file, integrity]) => new Request(folder + file, { cache: "no-cache", integrity })));
}

async function activate(): Promise<void> {
  const old = (await caches.keys()).filter((one) => one.startsWith(ours) && one !== name);
  await Promise.all(old.map((one) => caches.delete(one)));
  await scope.clients.claim(); // a page that was there first: from now on it needs no network either
}

async function answer(request: Request, file: string): Promise<Response> {
  const cache = await caches.open(name);
  return (await cache.match(folder + file)) ?? fetch(request); // the browser may have thrown it away
}

/** Goes if there is no such page at this address any more, as happens at those of a developer's machine; the visitor sees what is there. */
async function go(visitor: string): Promise<void> {
  const found = await fetch(scope.location.href, { method: "HEAD", cache: "no-store" }).catch(() => null); // null: no network
  if (found?.status !== 404) return;
  await scope.registration.unregister();
  for (let tries = 0; tries < 50; tries++) { // the page may not be there yet
    const client = await scope.clients.get(visitor);
    if (client instanceof WindowClient) return void (await client.navigate(client.url).catch(() => null)); // else with the next visit
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** A person wants this version: it begins if no other page would lose its files. Answers with how many there are. */
async function take(port: MessagePort): Promise<void> {
  const pages = await scope.clients.matchAll({ type: "window", includeUncontrolled: true });
  const others = pages.filter(({ url }) => kept(url) === "").length - 1;
  port.postMessage(others);
  if (others <= 0) await scope.skipWaiting();
}

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(activate()));
scope.addEventListener("message", (event) => event.waitUntil(take(event.ports[0]!)));
scope.addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request, file = kept(url);
  if (method !== "GET" || file === null) return;
  event.respondWith(answer(event.request, file));
  if (mode === "navigate") event.waitUntil(go(event.resultingClientId));
});

export {};
