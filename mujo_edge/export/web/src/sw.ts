/**
 * Service worker that caches every file of the folder, so that the page works offline.
 *
 * SHA256SUMS lists the files, and the browser verifies each against its hash. Either all files are cached or none.
 * `EDITION` is filled in when the folder is exported: another export is another service worker, which waits until the
 * user accepts the update.
 */

/// <reference lib="webworker" />

const worker = self as unknown as ServiceWorkerGlobalScope;

const EDITION = "@edition@";
const SUMS = "SHA256SUMS";
const PREFIX = `mujo-edge ${worker.registration.scope} `;
const CACHE = PREFIX + EDITION;

worker.addEventListener("install", (event) => event.waitUntil(cacheAll()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("message", (event) => {
  if (event.data === "now") void worker.skipWaiting();
});
worker.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.href.startsWith(worker.registration.scope)) {
    event.respondWith(answer(event.request, url));
  }
});

async function cacheAll(): Promise<void> {
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
    // If the folder was replaced after this worker was fetched, it belongs to the next worker.
    if (!(await (await cache.match("sw.js"))?.text())?.includes(EDITION)) throw new Error("sw.js: another edition");
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

/** Fetch a file of the folder; throws if it is unavailable or does not match its hash. */
async function fetched(file: string, sha256?: string): Promise<Response> {
  const integrity = sha256 ? { integrity: `sha256-${btoa(bytes(sha256))}` } : {};
  const response = await fetch(file, { cache: "no-cache", ...integrity });
  if (!response.ok) throw new Error(`${file}: HTTP ${response.status}`);
  // Some hosts redirect index.html, and a page cannot be opened from a redirected response.
  return response.redirected ? new Response(response.body, { headers: response.headers }) : response;
}

function bytes(hex: string): string {
  return String.fromCharCode(...(hex.match(/../g) ?? []).map((byte) => parseInt(byte, 16)));
}

/** Delete the caches of earlier editions, and take control of open pages. */
async function activate(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

async function answer(request: Request, url: URL): Promise<Response> {
  const file = url.href === worker.registration.scope ? "index.html" : request;
  // caches.open would recreate a deleted edition.
  return (await caches.match(file, { cacheName: CACHE, ignoreSearch: true, ignoreVary: true })) ?? fetch(request);
}

export {};
