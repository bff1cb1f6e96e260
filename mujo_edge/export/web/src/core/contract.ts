/** Validation of mujo.json. */

import type { Contract, InputSpec, LabelSet } from "./types";

/** The schema version that this code reads. */
export const SCHEMA_VERSION = 1;

/** mujo.json is invalid. The message says what to do. */
export class ContractError extends Error {
  override readonly name = "ContractError";
}

/** Parsed JSON -> the validated contract. Throws `ContractError`. */
export function parseContract(table: unknown): Contract {
  const contract = table as Contract;
  if (!isTable(table) || table["schema_version"] !== SCHEMA_VERSION) {
    const version = isTable(table) ? String(table["schema_version"]) : "none";
    throw new ContractError(
      `mujo.json has schema version ${version}, this page reads ${SCHEMA_VERSION}. Export the folder again`,
    );
  }
  const fault = faults(contract).next();
  if (!fault.done) throw new ContractError(`mujo.json is damaged: ${fault.value}. Export the folder again`);
  return contract;
}

/** The faults of a table, as phrases. */
function* faults(contract: Contract): Generator<string> {
  const { input, label_sets: sets, embedding_dim: dim, models } = contract;
  if (!isTable(input) || !validInput(input)) yield "input is invalid";
  if (!Number.isInteger(dim) || dim < 1) yield "embedding_dim is no count";
  if (!Array.isArray(models) || !models.every((model) => isTable(model) && typeof model.file === "string")) {
    yield "models is not a list of files";
  }
  if (!isTable(sets)) {
    yield "label_sets is no table";
    return;
  }
  for (const [name, labels] of Object.entries(sets)) {
    if (!isTable(labels) || !validLabels(labels, dim)) yield `label set ${name} is invalid`;
  }
  if (!Object.hasOwn(sets, contract.default_label_set)) yield "default_label_set names no label set";
}

function validInput(input: InputSpec): boolean {
  const { channels, rate_hz, window, hop, scale, clip, max_gap_s } = input;
  return (
    Array.isArray(channels) &&
    channels.length === 6 &&
    [rate_hz, clip, max_gap_s].every(isPositive) &&
    [window, hop].every((count) => isPositive(count) && Number.isInteger(count)) &&
    hop <= window &&
    Array.isArray(scale) &&
    scale.length === channels.length &&
    scale.every(isPositive)
  );
}

function validLabels(set: LabelSet, dim: number): boolean {
  const { labels, prototypes, channels, temperature, unknown_threshold, smoothing } = set;
  return (
    Array.isArray(labels) &&
    labels.length > 0 &&
    labels.every((label) => typeof label === "string") &&
    ["string", "undefined"].includes(typeof set.title) &&
    Array.isArray(prototypes) &&
    prototypes.length === labels.length &&
    prototypes.every((row) => Array.isArray(row) && row.length === dim && row.every(Number.isFinite)) &&
    (channels === 3 || channels === 6) &&
    isPositive(temperature) &&
    temperature >= 1e-6 &&
    temperature <= 1e6 &&
    Number.isFinite(unknown_threshold) &&
    Math.abs(unknown_threshold) <= 1.01 &&
    isTable(smoothing) &&
    ["hmm", "majority", "none"].includes(smoothing.method) &&
    Number.isInteger(smoothing.windows) &&
    smoothing.windows >= 1 &&
    Number.isFinite(smoothing.stay) &&
    smoothing.stay >= 0 &&
    smoothing.stay <= 1
  );
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isPositive(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}
