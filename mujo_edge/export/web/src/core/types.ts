/** Types of the artifact's contract (mujo.json), and of the recognizer's input and output. */

/** The model's input: `window` samples at `rate_hz`, a new window every `hop` samples. */
export interface InputSpec {
  readonly channels: readonly string[];
  readonly rate_hz: number;
  readonly window: number;
  readonly hop: number;
  /** Divisor of each channel (m/s2, rad/s). */
  readonly scale: readonly number[];
  /** Bound of the scaled values: +-clip. */
  readonly clip: number;
  readonly max_gap_s: number;
}

export interface Smoothing {
  readonly method: "hmm" | "majority" | "none";
  readonly stay: number;
  readonly windows: number;
}

/** Classes for one placement; `prototypes` (L, D), each L2-normalized, in the order of `labels`. */
export interface LabelSet {
  readonly labels: readonly string[];
  /** For people: "shoulder exercises, wrist". */
  readonly title?: string;
  readonly placement: string;
  readonly channels: number;
  readonly temperature: number;
  readonly unknown_threshold: number;
  readonly smoothing: Smoothing;
  readonly prototypes: readonly (readonly number[])[];
}

/** A model file of the artifact. */
export interface Model {
  readonly file: string;
  readonly runtime: string;
  readonly precision: string;
  readonly dtype: string;
}

/** mujo.json, as validated by `parseContract`. */
export interface Contract {
  readonly schema_version: number;
  readonly bundle: string;
  readonly version: string;
  readonly created: string;
  readonly exported_by: string;
  readonly input: InputSpec;
  readonly embedding_dim: number;
  readonly label_sets: Readonly<Record<string, LabelSet>>;
  readonly default_label_set: string;
  readonly models: readonly Model[];
}

/** A stream's format: accelerometer only or with gyroscope, and its nominal rate if known. */
export interface StreamInfo {
  readonly channels: 3 | 6;
  readonly rateHz?: number;
}

/** A loaded model. */
export interface Runtime {
  readonly name: "litert" | "onnx";
  /** (6 * T) prepared, channel first -> (D) raw model output. */
  embed(window: Float32Array): Promise<Float32Array>;
  close(): void;
}

/** One recognized window. `endS` is device time; `embedding` (D) is L2-normalized. */
export interface Prediction {
  readonly kind: "prediction";
  readonly endS: number;
  /** The smoothed label that the user sees, and its probability. */
  readonly label: string;
  readonly score: number;
  /** Label of the window alone. */
  readonly rawLabel: string;
  /** (L + 1) smoothed probabilities: in the order of the labels, "unknown" last. */
  readonly scores: Float32Array;
  readonly embedding: Float32Array;
  readonly inferenceMs: number;
}

export type Reason = "missing" | "invalid" | "clock" | "constant";

/** A stretch of device time without usable signal, from the last good sample to the next. */
export interface Gap {
  readonly kind: "gap";
  readonly startS: number;
  readonly endS: number;
  /**
   * "missing": no samples came; "invalid": they were not finite or not possible; "clock": device time went backwards;
   * "constant": one value repeated for a whole window, a sensor that sleeps or is stuck.
   */
  readonly reason: Reason;
}

export type Event = Prediction | Gap;

/** Running counts of one stream. `signalS` is device time covered, without the gaps. */
export interface StreamStats {
  samples: number;
  gaps: number;
  /** Not finite, or beyond any sensor's range. */
  invalid: number;
  /** Time did not increase. */
  repeated: number;
  windows: number;
  signalS: number;
  /** Measured over the last samples; null until there are two. */
  rateHz: number | null;
}
