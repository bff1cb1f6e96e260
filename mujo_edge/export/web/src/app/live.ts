/** Display of the running session: label, confidence, timeline with counts, state. */

import { UNKNOWN } from "../core/labels";
import type { Event, Reason, Runtime } from "../core/types";
import { at, clock, create, many, setText } from "./page";
import type { Run } from "./run";
import { SPAN_S, type Tally } from "./tally";

const REASONS: Readonly<Record<Reason, string>> = {
  missing: "samples are missing",
  invalid: "samples are not finite or not possible",
  clock: "device time went backwards",
  constant: "the sensor repeats one value",
};

export const RUNTIMES: Readonly<Record<Runtime["name"], string>> = { litert: "LiteRT.js", onnx: "ONNX Runtime Web" };

const SVG = "http://www.w3.org/2000/svg";

/** Labels of more characters get a smaller font. */
const LONG = 14;

/** Show the newest event. */
export function showEvent(event: Event): void {
  if (event.kind === "prediction") return showLabel(event.label, event.score, "");
  showLabel("Listening", null, `Gap: ${REASONS[event.reason]}.`);
}

/** Show a label with its score; with `score` null, `label` is a state and not a prediction. */
export function showLabel(label: string, score: number | null, hint: string): void {
  const element = at("label");
  setText(element, label);
  element.classList.toggle("quiet", score === null || label === UNKNOWN);
  element.classList.toggle("long", label.length > LONG);
  const percent = Math.round(100 * (score ?? 0));
  at("score").setAttribute("aria-valuenow", String(percent));
  at("score").setAttribute("aria-valuetext", score === null ? "none" : `${percent} %`);
  at("score-bar").style.width = `${percent}%`;
  setText(at("percent"), score === null ? "" : `${percent} %`);
  setText(at("hint"), hint);
}

export function showState(run: Run, title: string): void {
  const stats = run.stats;
  const gyroscope = run.channels === 3 ? ", no gyroscope" : "";
  setText(at("rate"), stats?.rateHz ? `${stats.rateHz.toFixed(0)} Hz${gyroscope}` : "–");
  setText(at("gaps"), stats ? String(stats.gaps) : "–");
  const median = run.inferenceMs.value;
  setText(at("inference"), median === null ? "–" : `${median.toFixed(2)} ms`);
  setText(at("running-set"), title);
  setText(at("length"), clock(run.durationS));
  setText(at("samples"), run.samples.toLocaleString());
}

/** Show a lane for every label so far, in the order of `names`: its stretches, seconds and bouts. */
export function showLanes(tally: Tally, names: readonly string[], current: string | null): void {
  const seen = names.filter((name) => tally.counts.has(name));
  const lanes = at("lanes");
  at("lanes-none").hidden = seen.length > 0;
  at("axis").hidden = !seen.length;
  const endS = Math.max(0, ...tally.recent.map((bout) => bout.endS));
  seen.forEach((name, i) => {
    let lane = lanes.children[i] as HTMLLIElement | undefined;
    if (lane?.dataset["label"] !== name) {
      lane = newLane(name);
      lanes.insertBefore(lane, lanes.children[i] ?? null);
    }
    const { seconds, bouts } = tally.counts.get(name)!;
    lane.classList.toggle("now", name === current);
    setText(lane.querySelector(".count")!, `${clock(Math.round(seconds))} · ${many(bouts, "bout")}`);
    const stretches = tally.recent.filter((bout) => bout.label === name);
    lane.querySelector("path")!.setAttribute("d", stretches.map((bout) => stretch(bout, endS)).join(""));
  });
  while (lanes.children.length > seen.length) lanes.lastElementChild!.remove();
}

/** A rectangle on the last `SPAN_S` seconds before `endS`, one unit per second. */
function stretch(bout: { startS: number; endS: number }, endS: number): string {
  const from = Math.max(0, SPAN_S + bout.startS - endS);
  return `M${from.toFixed(2)} 0H${(SPAN_S + bout.endS - endS).toFixed(2)}V1H${from.toFixed(2)}Z`;
}

function newLane(name: string): HTMLLIElement {
  const lane = create("li");
  lane.dataset["label"] = name;
  lane.classList.toggle("unknown", name === UNKNOWN);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${SPAN_S} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "path"));
  lane.append(create("span", name, "name"), create("span", "", "count"), svg);
  return lane;
}
