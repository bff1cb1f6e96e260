// Reads DeviceMotionEvent, sends batches (firmware_bridge/phone/browser.py has the bytes), shows the received label.
"use strict";

const VERSION = 1, BATCH_MS = 50, MAX_SAMPLES = 64;
const PATIENCE_MS = 2500;        // without a motion event before a message is shown
const SLOW_MS = 300;             // between two POST requests, if a WebSocket cannot be opened
const MAX_BUFFERED = 1 << 16;    // maximum of bytes waiting in the socket; samples beyond are dropped and counted as lost
const REFUSALS = new Set([4400, 4409, 4422, 4429]);

const at = (id) => document.getElementById(id);
const page = sessionStorage.page || Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => (b % 36).toString(36)).join("");
sessionStorage.page = page;

let waiting = [];                // samples not sent yet: [timeStamp, x, y, z, alpha, beta, gamma]
let number = 0;                  // of the first of them
let gyroscope = null;            // known with the first event
let times = [], sent = 0, running = false, ended = false;
let socket = null, greeted = false, tries = 0, everOpen = false, posting = false;

function problem(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function state(text) {
  if (at("state").textContent !== text) at("state").textContent = text;
}

at("start").addEventListener("click", async () => {
  if (running) return location.reload();
  problem("");
  if (!window.isSecureContext) {
    return problem("The browser gives motion only to pages opened with https, or from this very machine. Open the address that mujo-edge shows.");
  }
  if (typeof DeviceMotionEvent === "undefined") {
    return problem("This browser has no motion events. Try Safari on an iPhone, or Chrome or Firefox on Android.");
  }
  try {
    if (typeof DeviceMotionEvent.requestPermission === "function" && await DeviceMotionEvent.requestPermission() !== "granted") {
      return problem("Motion access was refused. Close all tabs of this page, or allow motion in the browser's settings for it, and tap Start again.");
    }
  } catch (error) {
    return problem("Motion access could not be asked for: " + error.message);
  }
  running = true;
  at("start").textContent = "Stop";
  at("start").classList.add("quiet");
  state("waiting for motion events");
  window.addEventListener("devicemotion", moved);
  setTimeout(() => {
    if (gyroscope === null) {
      problem("No motion events come. This device may have no motion sensor, or the browser blocks it: look at its site settings for motion sensors.");
    }
  }, PATIENCE_MS);
  stayAwake();
  document.addEventListener("visibilitychange", stayAwake);
  setInterval(show, 500);
});

async function stayAwake() {
  if (document.hidden) return state("paused: browsers stop motion events in the background");
  try { await navigator.wakeLock.request("screen"); } catch { /* only a comfort */ }
}

function moved(event) {
  const a = event.accelerationIncludingGravity, r = event.rotationRate;
  if (!a || a.x === null || a.y === null || a.z === null) return;
  if (gyroscope === null) {
    gyroscope = Boolean(r && r.alpha !== null && r.beta !== null && r.gamma !== null);
    problem("");
    connect();
    setInterval(flush, BATCH_MS);
  }
  const turned = r ?? { alpha: null, beta: null, gamma: null };
  waiting.push([event.timeStamp, a.x, a.y, a.z, turned.alpha ?? NaN, turned.beta ?? NaN, turned.gamma ?? NaN]);
  times.push(event.timeStamp);
  if (waiting.length > 4 * MAX_SAMPLES) drop();
}

function drop() {
  number += waiting.length;
  waiting = [];
}

const hello = () => JSON.stringify({ vendor: navigator.vendor || "", gyroscope, agent: navigator.userAgent.slice(0, 300) });

function batch() {
  const rows = waiting.splice(0, MAX_SAMPLES), width = gyroscope ? 6 : 3;
  const view = new DataView(new ArrayBuffer(8 + rows.length * (8 + 4 * width)));
  view.setUint8(0, VERSION << 1 | (gyroscope ? 1 : 0));
  view.setUint8(1, rows.length);
  view.setUint32(4, number >>> 0, true);
  rows.forEach((row, i) => {
    const start = 8 + i * (8 + 4 * width);
    view.setFloat64(start, row[0], true);
    for (let k = 0; k < width; k++) view.setFloat32(start + 8 + 4 * k, row[1 + k], true);
  });
  number += rows.length;
  sent += rows.length;
  return view.buffer;
}

function flush() {
  if (ended || posting) return;
  if (!socket || socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > MAX_BUFFERED) return;
  while (waiting.length) socket.send(batch());
}

function connect() {
  if (ended) return;
  tries += 1;
  state(tries === 1 ? "connecting" : `connecting, try ${tries}`);
  const url = new URL("stream", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.search = "page=" + page;
  socket = new WebSocket(url);
  socket.addEventListener("open", () => {
    everOpen = true;
    drop();                      // old samples are of no use to a live label
    socket.send(hello());
    tries = 0;
    problem("");
    state("connected");
  });
  socket.addEventListener("message", (event) => label(JSON.parse(event.data)));
  socket.addEventListener("close", (event) => {
    if (ended) return;
    if (REFUSALS.has(event.code)) problem("The computer refused this phone: " + event.reason);
    // iOS allows no WebSocket to a self-signed certificate (WebKit bug 145819): use POST requests.
    if (!everOpen && tries >= 2) return post();
    const wait = Math.min(500 * 2 ** tries, 8000);
    state(`not connected, next try in ${Math.ceil(wait / 1000)} s`);
    setTimeout(connect, wait);
  });
}

async function post() {
  posting = true;
  let known = false, failures = 0;
  while (!ended) {
    try {
      if (!known) drop();
      const body = known ? (waiting.length ? batch() : null) : hello();
      if (body !== null) {
        const type = known ? "application/octet-stream" : "application/json";
        const answer = await fetch("samples?page=" + page, { method: "POST", body, headers: { "Content-Type": type } });
        const news = await answer.json();
        if (answer.ok) {
          known = true;
          failures = 0;
          problem("");
          state("connected (by posts)");
          label(news);
        } else {
          known = false;
          failures += 1;
          problem("The computer refused this phone: " + news.reason);
        }
      }
    } catch {
      known = false;
      failures += 1;
      state("not connected, trying again");
    }
    const pause = failures ? Math.min(500 * 2 ** failures, 8000) : waiting.length >= MAX_SAMPLES ? 0 : SLOW_MS;
    await new Promise((done) => setTimeout(done, pause));
  }
}

function label(news) {
  if (typeof news.label === "string") {
    if (at("label").textContent !== news.label) at("label").textContent = news.label;
    at("label").classList.toggle("unknown", news.unknown === true);
    at("score").value = news.score;
    at("percent").textContent = Math.round(100 * news.score) + " %";
  }
  if (news.title) {
    at("set").textContent = "Recognizes: " + news.title;
    at("set").hidden = false;
  }
  if (typeof news.lost === "number") at("lost").textContent = news.lost;
  if (news.ended) {
    ended = true;
    state("mujo-edge has ended");
    window.removeEventListener("devicemotion", moved);
    if (socket) socket.close();
  }
}

function show() {
  const now = performance.now();
  times = times.filter((time) => time > now - 2000);
  const span = times.length > 1 ? times[times.length - 1] - times[0] : 0;
  at("rate").textContent = span > 0 ? ((times.length - 1) * 1000 / span).toFixed(0) + " Hz" : "0 Hz";
  at("sent").textContent = sent;
}
