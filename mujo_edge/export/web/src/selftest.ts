/**
 * The artifact checks itself: its golden streams through the pipeline alone, and with each runtime.
 *
 * For whoever drives the page, `window.mujo` has `result` (null until all is done) and `embed`.
 */

import { parseContract } from "./core/contract";
import { largest, normalized, probabilities } from "./core/labels";
import type { Contract, Runtime } from "./core/types";
import { differences, largestDelta, readCases, recognize, replayed, snrDb, type Case } from "./golden";
import { openRuntime, RUNTIMES, type RuntimeName } from "./runtime";
import { timed, type Timing } from "./timing";

/** Prepared windows are equal within this, and embeddings of the same file within that. */
const WINDOW = 1e-5;
const EMBEDDING = 1e-3;

/** Below this a model file does not compute what was trained (`mujo_edge.bundle`). */
const LEAST_SNR_DB = 20;

const TITLES: Readonly<Record<RuntimeName, string>> = { litert: "LiteRT.js", onnx: "onnxruntime-web" };

interface RuntimeResult {
  readonly runtime: RuntimeName;
  readonly passed: boolean;
  /** Why it does not run; then nothing is `measured`. */
  readonly error: string | null;
  readonly measured: Measured | null;
}

interface Measured {
  /** From nothing to the first embedding that can be asked for. */
  readonly openMs: number;
  readonly windows: number;
  /** Of normalized embeddings from the golden ones, which LiteRT gave in Python. */
  readonly maxAbsDelta: number;
  readonly snrDb: number;
  /** Share of windows with the same likeliest label. */
  readonly top1: number;
  readonly differences: readonly string[];
  readonly timing: Timing;
}

interface CaseResult {
  readonly name: string;
  readonly events: number;
  readonly windows: number;
  readonly maxAbsDelta: number;
  readonly differences: readonly string[];
  readonly passed: boolean;
}

interface Result {
  readonly bundle: string;
  readonly passed: boolean;
  /** The runtime that this browser gets when none is asked for. */
  readonly chosen: RuntimeName | null;
  readonly pipeline: readonly CaseResult[];
  readonly runtimes: readonly RuntimeResult[];
}

interface Mujo {
  result: Result | null;
  /** (N) prepared windows of 6 * T values -> what the model gives, (N) times D. */
  embed(runtime: RuntimeName, windows: readonly (readonly number[])[]): Promise<number[][]>;
}

declare global {
  interface Window {
    mujo: Mujo;
  }
}

const base = new URL(".", document.baseURI).href;

async function bytes(path: string): Promise<ArrayBuffer> {
  const answer = await fetch(new URL(path, base));
  if (!answer.ok) throw new Error(`${path} cannot be read (HTTP ${answer.status})`);
  return answer.arrayBuffer();
}

async function readContract(): Promise<Contract> {
  return parseContract(JSON.parse(new TextDecoder().decode(await bytes("mujo.json"))));
}

const opened = new Map<RuntimeName, Promise<Runtime>>();

function open(name: RuntimeName): Promise<Runtime> {
  const there = opened.get(name) ?? readContract().then((contract) => openRuntime(base, contract, name));
  opened.set(name, there);
  return there;
}

/** The golden streams with the golden embeddings: all but the model. */
async function checkPipeline(golden: Case, contract: Contract): Promise<CaseResult> {
  const runtime = replayed(golden);
  const events = await recognize(golden, contract, runtime);
  const wrong = differences(golden, events);
  const maxAbsDelta = largestDelta(runtime.windows, golden.windows);
  const passed = !wrong.length && maxAbsDelta <= WINDOW;
  const windows = golden.windows.length;
  return { name: golden.name, events: events.length, windows, maxAbsDelta, differences: wrong, passed };
}

/**
 * All, with one runtime. LiteRT has to give Python's embeddings and events. onnxruntime-web runs a file that was
 * quantized for itself: its noise is judged, as that of any file of the bundle; other labels are shown.
 */
async function checkRuntime(name: RuntimeName, cases: readonly Case[], contract: Contract): Promise<RuntimeResult> {
  const begun = performance.now();
  let runtime: Runtime;
  try {
    runtime = await open(name);
  } catch (error) {
    return { runtime: name, passed: false, error: String(error), measured: null };
  }
  const openMs = performance.now() - begun;
  const exact = name === "litert";
  const wrong: string[] = [];
  const [golden, found]: Float32Array[][] = [[], []];
  let agreed = 0;
  for (const one of cases) {
    const events = await recognize(one, contract, runtime);
    wrong.push(...differences(one, events, exact ? undefined : Infinity).map((text) => `${one.name}: ${text}`));
    for (const [i, window] of one.windows.entries()) {
      const embedding = normalized(await runtime.embed(window));
      const [label, expected] = [embedding, one.embeddings[i]].map((y) => largest(probabilities(y, one.labels)));
      agreed += Number(label === expected);
      found.push(embedding);
      golden.push(one.embeddings[i]);
    }
  }
  const measured: Measured = {
    openMs,
    windows: golden.length,
    maxAbsDelta: largestDelta(golden, found),
    snrDb: snrDb(golden, found),
    top1: agreed / golden.length,
    differences: wrong,
    timing: await timed(() => runtime.embed(cases[0].windows[0])),
  };
  const passed = exact ? !wrong.length && measured.maxAbsDelta <= EMBEDDING : measured.snrDb >= LEAST_SNR_DB;
  return { runtime: name, passed, error: null, measured };
}

async function check(): Promise<Result> {
  const contract = await readContract();
  const cases = await readCases((name) => bytes(`golden/${name}`), contract);
  const pipeline: CaseResult[] = [];
  for (const golden of cases) {
    pipeline.push(await checkPipeline(golden, contract));
    show("pipeline", pipelineCells(pipeline[pipeline.length - 1]), pipeline[pipeline.length - 1].passed);
  }
  const runtimes: RuntimeResult[] = [];
  for (const name of RUNTIMES) {
    runtimes.push(await checkRuntime(name, cases, contract));
    show("runtimes", runtimeCells(runtimes[runtimes.length - 1]), runtimes[runtimes.length - 1].passed);
  }
  const passed = [...pipeline, ...runtimes].every((part) => part.passed);
  const chosen = await openRuntime(base, contract).catch(() => null);
  chosen?.close();
  return { bundle: `${contract.bundle} ${contract.version}`, passed, chosen: chosen?.name ?? null, pipeline, runtimes };
}

function pipelineCells(result: CaseResult): string[] {
  return [result.name, `${result.events}`, `${result.windows}`, result.maxAbsDelta.toExponential(1)];
}

function runtimeCells({ runtime, error, measured }: RuntimeResult): string[] {
  const name = TITLES[runtime];
  if (!measured) return [name, `does not run: ${error}`, "", "", "", "", ""];
  const { maxAbsDelta, snrDb, top1, timing, openMs } = measured;
  const noise = [maxAbsDelta.toExponential(1), Number.isFinite(snrDb) ? `${snrDb.toFixed(1)} dB` : "none"];
  const times = [timing.p50Ms.toFixed(3), timing.p99Ms.toFixed(3), openMs.toFixed(0)].map((ms) => `${ms} ms`);
  return [name, ...noise, `${(100 * top1).toFixed(1)} %`, ...times];
}

/** One more row in a table: its cells and whether it passed. */
function show(table: string, cells: readonly string[], passed: boolean): void {
  const row = document.querySelector<HTMLTableSectionElement>(`#${table} tbody`)!.insertRow();
  [...cells, passed ? "passed" : "FAILED"].forEach((text, i) => {
    const cell = document.createElement(i ? "td" : "th");
    if (!i) cell.scope = "row";
    cell.textContent = text;
    row.append(cell);
  });
  row.lastElementChild!.className = passed ? "passed" : "failed";
}

function say(text: string, passed: boolean): void {
  const verdict = document.querySelector("#verdict")!;
  verdict.textContent = text;
  verdict.className = passed ? "passed" : "failed";
}

window.mujo = {
  result: null,
  async embed(name, windows) {
    const runtime = await open(name);
    const embeddings: number[][] = [];
    for (const window of windows) embeddings.push([...(await runtime.embed(Float32Array.from(window)))]);
    return embeddings;
  },
};

try {
  const result = await check();
  const parts = [...result.pipeline, ...result.runtimes.map(({ measured }) => measured)];
  const wrong = parts.flatMap((part) => part?.differences ?? []);
  document.querySelector("#differences")!.textContent = wrong.join("\n") || "None.";
  const runs = result.chosen ? `This browser runs it with ${TITLES[result.chosen]}.` : "This browser cannot run it.";
  say(`${result.bundle}: ${result.passed ? "passed" : "FAILED"}. ${runs}`, result.passed);
  window.mujo.result = result;
} catch (error) {
  say(`The self-test did not run: ${error instanceof Error ? error.message : String(error)}`, false);
}
