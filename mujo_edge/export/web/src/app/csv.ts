/** Export of a session as CSV, which `mujo-edge stream --replay` reads. */

import type { Event } from "../core/types";
import type { Batch } from "./motion";
import type { SessionMeta } from "./store";

const CHANNELS = ["ax_m_s2", "ay_m_s2", "az_m_s2", "gx_rad_s", "gy_rad_s", "gz_rad_s"];

/** Tolerance of half a millisecond: times of windows and of samples are on different grids. */
const SLACK_S = 5e-4;

/**
 * The lines above the samples: comments, and the column names of recordings. Recognized labels have column names that
 * `--replay` does not read as annotations, since a recognizer must not be evaluated on its own labels.
 */
export function head(session: SessionMeta): string {
  const about = [
    `# mujo-edge web: ${session.name}`,
    `# started ${new Date(session.startedMs).toISOString()}, worn at the ${session.placement}`,
    `# recognize it again with: mujo-edge stream --replay FILE.csv --labels ${session.labelSet}`,
  ].map((line) => line.replace(/[\r\n]+/g, " "));
  const columns = ["t_s", ...CHANNELS.slice(0, session.channels), "recognized_label", "recognized_score"];
  return `${[...about, columns.join(",")].join("\n")}\n`;
}

/** The rows of consecutive batches; a window's label is written to the samples of its last `hopS` seconds. */
export class Rows {
  private next = 0;

  constructor(
    private readonly events: readonly Event[],
    private readonly hopS: number,
    private readonly channels: number,
  ) {}

  text(batch: Batch): string {
    let text = "";
    batch.tS.forEach((t, i) => {
      const cells = [String(t)];
      for (const value of batch.x.subarray(i * this.channels, (i + 1) * this.channels)) cells.push(float32(value));
      text += `${[...cells, ...this.recognized(t)].join(",")}\n`;
    });
    return text;
  }

  private recognized(t: number): string[] {
    while (this.next < this.events.length && this.events[this.next].endS < t - SLACK_S) this.next += 1;
    const event = this.events[this.next];
    if (event?.kind !== "prediction" || t <= event.endS - this.hopS + SLACK_S) return ["", ""];
    return [quoted(event.label), event.score.toFixed(4)];
  }
}

/** Nine digits, which identify a float32 exactly. */
function float32(value: number): string {
  return Number.isNaN(value) ? "nan" : String(Number(value.toPrecision(9)));
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
