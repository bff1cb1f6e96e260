/** The service worker: what the page says about working offline, and new editions. */

export interface Offline {
  /** In a few words, for the state. */
  state(text: string): void;
  /** A new edition is there; `load` changes to it. */
  update(load: () => void): void;
}

export async function keepOffline(page: Offline): Promise<void> {
  if (!("serviceWorker" in navigator)) return page.state("not in this browser");
  page.state("saving");
  try {
    const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
    if (registration.waiting) offer(registration, page);
    registration.addEventListener("updatefound", () => watch(registration, page));
    if (registration.installing) watch(registration, page);
    if (registration.active) page.state("ready");
  } catch (error) {
    // A browser takes a service worker only from a server whose certificate it trusts.
    page.state(`not saved: ${(error as Error).message}`);
  }
}

function watch(registration: ServiceWorkerRegistration, page: Offline): void {
  const worker = registration.installing;
  worker?.addEventListener("statechange", () => {
    if (worker.state === "activated") page.state("ready");
    if (worker.state === "redundant" && !registration.active) page.state("not saved: a file did not come whole");
    if (worker.state === "installed" && registration.active) offer(registration, page);
  });
}

function offer(registration: ServiceWorkerRegistration, page: Offline): void {
  page.update(() => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    // The one that waits by now: a newer one may have taken the place of the one that was offered.
    registration.waiting?.postMessage("now");
  });
}
