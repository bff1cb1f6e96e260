/** Registration of the service worker: offline state and updates. */

export interface Offline {
  /** Called with a short text for the state display. */
  state(text: string): void;
  /** Called when a new edition is available; `load` switches to it. */
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
    // Browsers accept a service worker only from a server whose certificate they trust.
    page.state(`not saved: ${(error as Error).message}`);
  }
}

function watch(registration: ServiceWorkerRegistration, page: Offline): void {
  const worker = registration.installing;
  worker?.addEventListener("statechange", () => {
    if (worker.state === "activated") page.state("ready");
    if (worker.state === "redundant" && !registration.active) page.state("not saved: a file is missing or damaged");
    if (worker.state === "installed" && registration.active) offer(registration, page);
  });
}

function offer(registration: ServiceWorkerRegistration, page: Offline): void {
  page.update(() => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    // The currently waiting worker, as a newer one may have replaced the offered one.
    registration.waiting?.postMessage("now");
  });
}
