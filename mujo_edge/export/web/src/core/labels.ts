/** Label probabilities of embeddings: cosine to prototypes, unknown rejection, smoothing over time. */

import type { LabelSet, Smoothing } from "./types";

/** Label of a window that fits no class of the label set. */
export const UNKNOWN = "unknown";

/** The labels in the order of the prototypes, then "unknown". */
export function names(labels: LabelSet): readonly string[] {
  return [...labels.labels, UNKNOWN];
}

/** A label set's title with a capital, or its name where it has none. */
export function titleOf(name: string, labels: LabelSet): string {
  const title = labels.title || name;
  return title.charAt(0).toUpperCase() + title.slice(1);
}

/** (D) -> L2-normalized; zero stays zero. */
export function normalized(embedding: Float32Array): Float32Array {
  const length = Math.max(Math.hypot(...embedding), 1e-12);
  return embedding.map((value) => value / length);
}

/**
 * (D) L2-normalized -> (L + 1) probabilities of the labels, then of "unknown".
 *
 * softmax(cosine / temperature), where "unknown" is one more class whose cosine is always `unknown_threshold`: it is
 * the most probable exactly when no prototype reaches the threshold.
 */
export function probabilities(embedding: Float32Array, labels: LabelSet): Float32Array {
  const cosines = labels.prototypes.map((row) => row.reduce((sum, value, i) => sum + value * embedding[i], 0));
  const logits = [...cosines, labels.unknown_threshold].map((cosine) => cosine / labels.temperature);
  const largest = Math.max(...logits);
  return sumToOne(Float32Array.from(logits, (logit) => Math.exp(logit - largest)));
}

/** Index of the largest value; the first of equal ones. */
export function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Values divided by their sum. */
function sumToOne(values: Float32Array): Float32Array {
  const sum = values.reduce((total, value) => total + value, 0);
  return values.map((value) => value / sum);
}

/**
 * Smooths the class probabilities (K) of consecutive windows.
 *
 * "hmm": forward filter; a class stays with probability `stay` and else changes to any other with equal probability
 * (Rabiner 1989, eq. 20, normalized at every step). "majority": the fraction of the last `windows` windows in which a
 * class was the likeliest; the newest has a weight of 1.5, which breaks ties. "none": unchanged.
 */
export class Smoother {
  private votes: number[] = [];
  private belief: Float32Array | null = null;

  constructor(private readonly smoothing: Smoothing) {}

  /** Forget the windows so far: the next one does not continue them. */
  reset(): void {
    this.votes = [];
    this.belief = null;
  }

  /** (K) probabilities of one window -> (K) smoothed. */
  update(p: Float32Array): Float32Array {
    const { method, windows } = this.smoothing;
    if (method === "hmm") return this.filter(p);
    if (method === "none") return p;
    this.votes = [...this.votes, largest(p)].slice(-windows);
    const counts = new Float32Array(p.length);
    for (const vote of this.votes) counts[vote] += 1;
    counts[this.votes[this.votes.length - 1]] += 0.5;
    return sumToOne(counts);
  }

  private filter(p: Float32Array): Float32Array {
    const { stay } = this.smoothing;
    const leave = (1 - stay) / (p.length - 1);
    const { belief } = this;
    const weight = p.map((value, i) => {
      // Never zero, from which the filter could not recover.
      const possible = Math.max(value, 1e-6);
      return belief ? possible * (stay * belief[i] + leave * (1 - belief[i])) : possible;
    });
    this.belief = sumToOne(weight);
    return this.belief;
  }
}
