import { el } from "./ui/dom.js";

const READY = "A new version of this page is ready. Reloading ends the run: download its checkpoint first if it is to stay.";

/**
 * Has the service worker keep the page for when there is no network, and offers a new version once it is there, which only a person
 * lets in. Does nothing where the browser has no service workers, as in a page that is no secure context.
 * @param notice where the offer is shown
 */
export async function keepOffline(notice: HTMLElement): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  const offer = () => {
    if (registration.waiting && registration.active) show(notice, registration.waiting);
  };
  const follow = () => registration.installing?.addEventListener("statechange", offer);
  registration.addEventListener("updatefound", follow);
  follow();
  offer();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) registration.update().catch(() => {}); // no network: the version that is there goes on
  });
}

function show(notice: HTMLElement, next: ServiceWorker): void {
  const said = el("p", {}, READY);
  const reload = el("button", { type: "button", class: "primary", onclick: () => void take() }, "Reload");
  const later = el("button", { type: "button", onclick: () => notice.replaceChildren() }, "Later");
  const take = async () => {
    const { port1, port2 } = new MessageChannel();
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    port1.onmessage = ({ data: others }: MessageEvent<number>) => {
      if (others > 0) said.textContent = "This page is open in other tabs too, which work with the version before. Close them, then reload.";
    };
    next.postMessage("take", [port2]);
  };
  notice.replaceChildren(said, reload, later);
}
