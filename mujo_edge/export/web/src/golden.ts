/** The artifact's golden streams: inputs, and the Python recognizer's results (`mujo_edge.export.golden`). */

import { Recognizer } from "./core/recognizer";
import type { Contract, Event, LabelSet, Runtime, Smoothing, StreamInfo } from "./core/types";

/** Bytes of a file of golden/, by name. */
export type Read = (name: string) => Promise<ArrayBuffer>;

/** A stream `tS` (n), `x` (n * C) with its results: `events`, and one of `windows` and `embeddings` per prediction. */
export interface Case {
  readonly name: string;
  readonly labels: LabelSet;
  readonly stream: StreamInfo;
  readonly tS: Float64Array;
  readonly x: Float32Array;
  readonly events: readonly Row[];
  readonly windows: readonly Float32Array[];
  readonly embeddings: readonly Float32Array[];
}

/** A line of a .csv file by column. */
export type Row = Readonly<Record<string, string>>;

/** Tolerance of the end of a window, and of the start and end of a gap. */
const TIME_S = 1e-6;

/** Tolerance of probabilities. */
const SCORE = 1e-3;

/** Every case of cases.csv. Throws where a file is missing or truncated. */
export async function readCases(read: Read, contract: Contract): Promise<Case[]> {
  const cases = parseCsv(text(await read("cases.csv")));
  return Promise.all(cases.map((row) => readCase(read, contract, row)));
}

async function readCase(read: Read, contract: Contract, row: Row): Promise<Case> {
  const { name } = row;
  const samples = parseCsv(text(await read(`${name}.samples.csv`)));
  const smoothing = {
    method: row.smoothing as Smoothing["method"],
    stay: Number(row.stay),
    windows: Number(row.smoothing_windows),
  };
  const { channels, window } = contract.input;
  const golden: Case = {
    name,
    labels: { ...contract.label_sets[row.label_set], smoothing },
    stream: { channels: Number(row.channels) as 3 | 6, ...(row.rate_hz ? { rateHz: Number(row.rate_hz) } : {}) },
    tS: Float64Array.from(samples, (sample) => Number(sample.t_s)),
    x: Float32Array.from(samples.flatMap((sample) => Object.values(sample).slice(1).map(sampleValue))),
    events: parseCsv(text(await read(`${name}.events.csv`))),
    windows: parts(await read(`${name}.windows.f32`), channels.length * window),
    embeddings: parts(await read(`${name}.embeddings.f32`), contract.embedding_dim),
  };
  const predictions = golden.events.filter(({ event }) => event === "prediction").length;
  const counts = [golden.windows.length, golden.embeddings.length, predictions];
  if (counts.some((count) => count !== Number(row.predictions)) || golden.tS.length !== Number(row.samples)) {
    throw new Error(`golden case ${name} is incomplete`);
  }
  return golden;
}

/** Feed a case in chunks of `size()` samples, by default all at once -> the events. */
export async function recognize(
  golden: Case,
  contract: Contract,
  runtime: Pick<Runtime, "embed">,
  size: () => number = () => golden.tS.length,
): Promise<Event[]> {
  const { labels, stream, tS, x } = golden;
  const recognizer = new Recognizer(contract, labels, stream, runtime);
  const events: Event[] = [];
  for (let start = 0; start < tS.length; ) {
    const end = Math.min(start + size(), tS.length);
    const chunk = x.subarray(start * stream.channels, end * stream.channels);
    events.push(...(await recognizer.push(tS.subarray(start, end), chunk)));
    start = end;
  }
  return events;
}

/** Replaces a model: returns the golden embeddings in order, and collects the `windows` that it receives. */
export function replayed(golden: Case): Pick<Runtime, "embed"> & { readonly windows: Float32Array[] } {
  const windows: Float32Array[] = [];
  return {
    windows,
    embed: async (window) => golden.embeddings[windows.push(window) - 1],
  };
}

/** Differences of `events` from those of the case, in words; scores may differ by `score`. */
export function differences(golden: Case, events: readonly Event[], score: number = SCORE): string[] {
  const messages: string[] = [];
  if (events.length !== golden.events.length) messages.push(`${events.length} events, not ${golden.events.length}`);
  golden.events.forEach((row, i) => {
    const event = events[i];
    if (event && !same(row, event, score)) messages.push(`event ${i} is ${shown(event)}, not ${expected(row)}`);
  });
  return messages;
}

function same(row: Row, event: Event, score: number): boolean {
  if (row.event !== event.kind || !(Math.abs(Number(row.end_s) - event.endS) <= TIME_S)) return false;
  if (event.kind === "gap") {
    return row.reason === event.reason && Math.abs(Number(row.start_s) - event.startS) <= TIME_S;
  }
  const near = Math.abs(Number(row.score) - event.score) <= score;
  return row.label === event.label && row.raw_label === event.rawLabel && near;
}

function shown(event: Event): string {
  if (event.kind === "gap") return `a gap "${event.reason}" from ${event.startS} to ${event.endS} s`;
  return `${event.label} ${event.score.toFixed(4)} (alone ${event.rawLabel}) at ${event.endS} s`;
}

function expected(row: Row): string {
  if (row.event === "gap") return `a gap "${row.reason}" from ${row.start_s} to ${row.end_s} s`;
  return `${row.label} ${Number(row.score).toFixed(4)} (alone ${row.raw_label}) at ${row.end_s} s`;
}

/** Largest |a - b| of any value; infinite where the numbers of rows differ. */
export function largestDelta(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  if (a.length !== b.length) return Infinity;
  const deltas = a.map((row, i) => row.reduce((most, value, k) => Math.max(most, Math.abs(value - b[i][k])), 0));
  return deltas.reduce((most, delta) => Math.max(most, delta), 0);
}

/** 10 log10(sum a^2 / sum (a - b)^2) over equally many rows. */
export function snrDb(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  const power = (value: (row: Float32Array, i: number, k: number) => number): number =>
    a.reduce((sum, row, i) => row.reduce((rows, _, k) => rows + value(row, i, k) ** 2, sum), 0);
  return 10 * Math.log10(power((row, _, k) => row[k]) / power((row, i, k) => row[k] - b[i][k]));
}

/** Lines of a .csv file (RFC 4180). */
export function parseCsv(csv: string): Row[] {
  const lines: string[][] = [[]];
  for (const [, field, end] of csv.matchAll(/("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/g)) {
    const quoted = field.startsWith('"');
    lines[lines.length - 1].push(quoted ? field.slice(1, -1).replaceAll('""', '"') : field);
    if (end.endsWith("\n")) lines.push([]);
  }
  const [head, ...rows] = lines.filter((line) => line.some((field) => field));
  return rows.map((row) => Object.fromEntries(head.map((name, i) => [name, row[i] ?? ""])));
}

/** Parse a float that Python's str() wrote. */
function sampleValue(value: string): number {
  return value === "inf" ? Infinity : value === "-inf" ? -Infinity : Number(value || NaN);
}

function text(bytes: ArrayBuffer): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

/** Little endian float32 in rows of `length`. */
function parts(bytes: ArrayBuffer, length: number): Float32Array[] {
  const view = new DataView(bytes);
  const value = (i: number): number => view.getFloat32(4 * i, true);
  return Array.from({ length: Math.floor(bytes.byteLength / 4 / length) }, (_, row) =>
    Float32Array.from({ length }, (_, i) => value(row * length + i)),
  );
}
