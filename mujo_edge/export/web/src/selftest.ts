/**
 * Self-test of the artifact: its golden streams through the pipeline alone, and with each runtime.
 *
 * For scripts that drive the page, `window.mujo` has `result` (null until the test is complete) and `embed`.
 */

import { parseContract } from "./core/contract";
import { largest, normalized, probabilities } from "./core/labels";
import type { Contract, Runtime } from "./core/types";
import { differences, largestDelta, readCases, recognize, replayed, snrDb, type Case } from "./golden";
import { openRuntime, RUNTIMES, type RuntimeName } from "./runtime";
import { timed, type Timing } from "./timing";

/** Tolerances of prepared windows, and of embeddings of the same model file. */
const WINDOW = 1e-5;
const EMBEDDING = 1e-3;

/** Smallest SNR of embeddings at which a quantized file passes (`mujo_edge.bundle`). */
const MIN_SNR_DB = 20;

const TITLES: Readonly<Record<RuntimeName, string>> = { litert: "LiteRT.js", onnx: "onnxruntime-web" };

interface RuntimeResult {
  readonly runtime: RuntimeName;
  readonly passed: boolean;
  /** Why the runtime did not start; `measured` is null then. */
  readonly error: string | null;
  readonly measured: Measured | null;
}

interface Measured {
  /** Time to open the runtime and the model. */
  readonly openMs: number;
  readonly windows: number;
  /** Largest difference of normalized embeddings from the golden ones, made by LiteRT in Python. */
  readonly maxAbsDelta: number;
  readonly snrDb: number;
  /** Fraction of windows with the same likeliest label. */
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
  /** The runtime that `openRuntime` chooses in this browser. */
  readonly chosen: RuntimeName | null;
  readonly pipeline: readonly CaseResult[];
  readonly runtimes: readonly RuntimeResult[];
}

interface Mujo {
  result: Result | null;
  /** (N) prepared windows of 6 * T values -> (N) raw model outputs of D values. */
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
  const runtime = opened.get(name) ?? readContract().then((contract) => openRuntime(base, contract, name));
  opened.set(name, runtime);
  return runtime;
}

/** Check a golden stream with the golden embeddings: everything except the model. */
async function checkPipeline(golden: Case, contract: Contract): Promise<CaseResult> {
  const runtime = replayed(golden);
  const events = await recognize(golden, contract, runtime);
  const messages = differences(golden, events);
  const maxAbsDelta = largestDelta(runtime.windows, golden.windows);
  const passed = !messages.length && maxAbsDelta <= WINDOW;
  const windows = golden.windows.length;
  return { name: golden.name, events: events.length, windows, maxAbsDelta, differences: messages, passed };
}

/**
 * Check all golden streams with one runtime. LiteRT must reproduce Python's embeddings and events. onnxruntime-web runs
 * a file that was quantized separately: it must reach an SNR, as any file of the bundle; differing labels are listed.
 */
async function checkRuntime(name: RuntimeName, cases: readonly Case[], contract: Contract): Promise<RuntimeResult> {
  const startMs = performance.now();
  let runtime: Runtime;
  try {
    runtime = await open(name);
  } catch (error) {
    return { runtime: name, passed: false, error: String(error), measured: null };
  }
  const openMs = performance.now() - startMs;
  const exact = name === "litert";
  const messages: string[] = [];
  const [expected, actual]: Float32Array[][] = [[], []];
  let agreed = 0;
  for (const golden of cases) {
    const events = await recognize(golden, contract, runtime);
    const tolerance = exact ? undefined : Infinity;
    messages.push(...differences(golden, events, tolerance).map((text) => `${golden.name}: ${text}`));
    for (const [i, window] of golden.windows.entries()) {
      const pair = [golden.embeddings[i], normalized(await runtime.embed(window))];
      const [goldenLabel, label] = pair.map((y) => largest(probabilities(y, golden.labels)));
      agreed += Number(label === goldenLabel);
      expected.push(pair[0]);
      actual.push(pair[1]);
    }
  }
  const measured: Measured = {
    openMs,
    windows: expected.length,
    maxAbsDelta: largestDelta(expected, actual),
    snrDb: snrDb(expected, actual),
    top1: agreed / expected.length,
    differences: messages,
    timing: await timed(() => runtime.embed(cases[0].windows[0])),
  };
  const passed = exact ? !messages.length && measured.maxAbsDelta <= EMBEDDING : measured.snrDb >= MIN_SNR_DB;
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

/** Append a row to a table. */
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

function conclude(text: string, passed: boolean): void {
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
  const messages = parts.flatMap((part) => part?.differences ?? []);
  document.querySelector("#differences")!.textContent = messages.join("\n") || "None.";
  const runs = result.chosen ? `This browser runs it with ${TITLES[result.chosen]}.` : "This browser cannot run it.";
  conclude(`${result.bundle}: ${result.passed ? "passed" : "FAILED"}. ${runs}`, result.passed);
  window.mujo.result = result;
} catch (error) {
  conclude(`The self-test did not run: ${error instanceof Error ? error.message : String(error)}`, false);
}
