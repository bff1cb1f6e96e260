/** The page: loads contract and model, runs sessions and shows them. */

import { parseContract } from "../core/contract";
import { names, titleOf } from "../core/labels";
import type { Contract, Event, Runtime } from "../core/types";
import { openRuntime } from "../runtime";
import { RUNTIMES, showEvent, showLabel, showLanes, showState } from "./live";
import { keepOffline } from "./offline";
import type { Sensor } from "./motion";
import { at, many, setText } from "./page";
import { Run, type RunState } from "./run";
import { Sample, SAMPLE_SET } from "./sample";
import { Sessions } from "./sessions";
import { Store } from "./store";

/** Key in localStorage of the label set that was chosen last. */
const CHOSEN = "mujo-edge label set";

const start = at<HTMLButtonElement>("start");
const pause = at<HTMLButtonElement>("pause");
const stop = at<HTMLButtonElement>("stop");
const set = at<HTMLSelectElement>("set");
const sample = at<HTMLButtonElement>("sample");

function problem(text: string): void {
  setText(at("problem"), text);
  at("problem").hidden = !text;
}

/** Set buttons and text for a phase; between sessions there is no run. */
function showPhase(phase: RunState | "ready" | "starting" | "no samples"): void {
  const runs = phase === "running" || phase === "paused" || phase === "no samples";
  start.hidden = runs;
  start.disabled = phase === "starting";
  pause.hidden = stop.hidden = !runs;
  setText(pause, phase === "paused" ? "Resume" : "Pause");
  set.disabled = runs || phase === "starting";
  setText(at("phase"), phase === "stopped" ? "ready" : phase);
  document.body.dataset["phase"] = phase;
}

/** Fill the list of label sets; the choice is stored for the next visit. */
function offerSets(contract: Contract): void {
  for (const [name, labels] of Object.entries(contract.label_sets)) {
    set.add(new Option(`${titleOf(name, labels)} (${many(labels.labels.filter((label) => label !== "background").length, "label")})`, name));
  }
  const chosen = localStorage.getItem(CHOSEN) ?? "";
  set.value = Object.hasOwn(contract.label_sets, chosen) ? chosen : contract.default_label_set;
  const explain = (): void => {
    const { placement, labels } = contract.label_sets[set.value];
    setText(at("set-about"), `${placement ? `Worn at the ${placement}: ` : ""}${labels.join(", ")}.`);
  };
  set.addEventListener("change", () => {
    localStorage.setItem(CHOSEN, set.value);
    explain();
  });
  explain();
}

/** The store of sessions, or null and a message on the page if the browser offers no storage. */
async function openStore(): Promise<Store | null> {
  try {
    return await Store.open();
  } catch (error) {
    setText(at("sessions-none"), `Sessions cannot be stored: ${(error as Error).message}`);
    return null;
  }
}

function listen(contract: Contract, runtime: Runtime, store: Store | null): void {
  const sessions = store && new Sessions(store, problem);
  let run: Run | null = null;

  const recognized = (events: readonly Event[]): void => {
    if (!run) return;
    if (document.body.dataset["phase"] === "no samples") {
      showPhase(run.state);
      sample.hidden = true;
    }
    for (const event of events) document.dispatchEvent(new CustomEvent("mujo", { detail: event }));
    const newest = events.at(-1);
    if (newest && run.state === "running") showEvent(newest);
    const current = newest?.kind === "prediction" ? newest.label : null;
    if (newest) showLanes(run.tally, names(contract.label_sets[run.labelSet]), current);
    showState(run, titleOf(run.labelSet, contract.label_sets[run.labelSet]));
  };

  const idle = (seconds: number): void => {
    showPhase("no samples");
    if (!run?.samples) sample.hidden = false;
    showLabel("No samples", null, `None for ${seconds.toFixed(0)} s.`);
  };

  const ended = async (): Promise<void> => {
    await run?.stop();
    run = null;
    showPhase("ready");
    showLabel("Sample is over", null, "It was a recording from a wrist. Tap Start to use this device's own sensor.");
    sample.hidden = false;
  };

  /** Start a session with this device's sensor, or play `sensor`, which is not stored. */
  async function begin(sensor?: Sensor): Promise<void> {
    problem("");
    showPhase("starting");
    sample.hidden = true;
    try {
      const kept = sensor ? null : store;
      run = await Run.start(contract, set.value, runtime, kept, { recognized, idle, ended, problem }, sensor);
    } catch (error) {
      problem((error as Error).message);
      sample.hidden = false;
      return showPhase("ready");
    }
    if (!sensor) void navigator.storage?.persist?.();
    showPhase("running");
    const windowS = contract.input.window / contract.input.rate_hz;
    showLabel("Listening", null, `The first label comes after ${windowS} s.`);
    showLanes(run.tally, [], null);
    pause.focus();
    await sessions?.show();
  }
  start.addEventListener("click", () => void begin());
  sample.addEventListener("click", async () => {
    await run?.stop();
    run = null;
    if (Object.hasOwn(contract.label_sets, SAMPLE_SET)) set.value = SAMPLE_SET;
    set.dispatchEvent(new Event("change"));
    try {
      await begin(await Sample.load());
    } catch (error) {
      problem((error as Error).message);
      showPhase("ready");
    }
  });
  pause.addEventListener("click", () => {
    if (!run) return;
    if (run.state === "paused") {
      run.resume();
      showLabel("Listening", null, "");
    } else {
      run.pause();
      showLabel("Paused", null, "The samples so far are stored.");
    }
    showPhase(run.state);
  });
  stop.addEventListener("click", async () => {
    if (!run) return;
    const stopping = run;
    await stopping.stop();
    run = null;
    problem("");
    sample.hidden = true;
    showPhase("ready");
    showLabel("Ready", null, "");
    start.focus();
    await sessions?.show();
  });
  document.addEventListener("visibilitychange", () => {
    if (run?.state !== "running") return;
    if (document.hidden) showLabel("Away", null, "Browsers stop motion events in the background.");
    else showLabel("Listening", null, "");
  });
  void sessions?.show();
}

async function main(): Promise<void> {
  void keepOffline({
    state: (text) => setText(at("offline"), text),
    update: (load) => {
      at("update").hidden = false;
      at("update-now").addEventListener("click", load, { once: true });
    },
  });
  const answer = await fetch("mujo.json");
  if (!answer.ok) throw new Error(`mujo.json cannot be read (HTTP ${answer.status})`);
  const contract = parseContract(await answer.json());
  offerSets(contract);
  setText(at("model"), `${contract.bundle} ${contract.version}, exported by ${contract.exported_by}.`);
  const [runtime, store] = await Promise.all([openRuntime("./", contract), openStore()]);
  setText(at("runtime"), RUNTIMES[runtime.name]);
  listen(contract, runtime, store);
  showLabel("Ready", null, "");
  showPhase("ready");
}

main().catch((error: Error) => {
  problem(error.message);
  showLabel("Not working", null, "");
  showPhase("stopped");
  start.disabled = true;
});
