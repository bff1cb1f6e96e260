/**
 * Keeps every file of the folder, so that the page works without a network.
 *
 * The folder's own SHA256SUMS says what there is, and the browser compares each file with it as it comes. A folder is
 * kept whole or not at all. `EDITION` is filled in when the folder is written: another folder is another service
 * worker, which waits until the person wants it.
 */

/// <reference lib="webworker" />

const worker = self as unknown as ServiceWorkerGlobalScope;

const EDITION = "@edition@";
const SUMS = "SHA256SUMS";
const PREFIX = `mujo-edge ${worker.registration.scope} `;
const CACHE = PREFIX + EDITION;

worker.addEventListener("install", (event) => event.waitUntil(keep()));
worker.addEventListener("activate", (event) => event.waitUntil(begin()));
worker.addEventListener("message", (event) => {
  if (event.data === "now") void worker.skipWaiting();
});
worker.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.href.startsWith(worker.registration.scope)) {
    event.respondWith(answer(event.request, url));
  }
});

async function keep(): Promise<void> {
  const sums = await fetched(SUMS);
  const lines = (await sums.clone().text()).trim().split("\n");
  const cache = await caches.open(CACHE);
  try {
    await Promise.all([
      cache.put(SUMS, sums),
      ...lines.map(async (line) => {
        const file = line.slice(66);
        await cache.put(file, await fetched(file, line.slice(0, 64)));
      }),
    ]);
    // A folder that was exchanged since this worker was read is the next worker's.
    if (!(await (await cache.match("sw.js"))?.text())?.includes(EDITION)) throw new Error("sw.js: another edition");
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

/** A file of the folder; throws if it cannot be had, or is not what it should be. */
async function fetched(file: string, sha256?: string): Promise<Response> {
  const integrity = sha256 ? { integrity: `sha256-${btoa(bytes(sha256))}` } : {};
  const response = await fetch(file, { cache: "no-cache", ...integrity });
  if (!response.ok) throw new Error(`${file}: HTTP ${response.status}`);
  // Some hosts send index.html elsewhere, and a page may not be opened with such an answer.
  return response.redirected ? new Response(response.body, { headers: response.headers }) : response;
}

function bytes(hex: string): string {
  return String.fromCharCode(...(hex.match(/../g) ?? []).map((byte) => parseInt(byte, 16)));
}

/** Editions before this one go, and pages that are open already are served from here. */
async function begin(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

async function answer(request: Request, url: URL): Promise<Response> {
  const file = url.href === worker.registration.scope ? "index.html" : request;
  // Not through caches.open, which would bring back an edition that is gone.
  return (await caches.match(file, { cacheName: CACHE, ignoreSearch: true, ignoreVary: true })) ?? fetch(request);
}

export {};
