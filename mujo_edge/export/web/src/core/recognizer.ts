/** Recognizes one stream with one label set: samples in, predictions and gaps out. */

import { largest, names, normalized, probabilities, Smoother } from "./labels";
import { prepare } from "./signal";
import type { Contract, Event, Gap, LabelSet, Prediction, Runtime, StreamInfo, StreamStats } from "./types";
import { WindowPipeline, type Window } from "./windowing";

export class Recognizer {
  private readonly channels: 3 | 6;
  private readonly pipeline: WindowPipeline;
  private readonly smoother: Smoother;
  private readonly names: readonly string[];
  private stuck = false;
  private last: Promise<unknown> = Promise.resolve();

  /**
   * @param contract mujo.json
   * @param labels one of its label sets
   * @param stream the samples' format; a gyroscope that the label set does not use is ignored
   * @param runtime the model
   */
  constructor(
    private readonly contract: Contract,
    private readonly labels: LabelSet,
    private readonly stream: StreamInfo,
    private readonly runtime: Pick<Runtime, "embed">,
  ) {
    this.channels = Math.min(stream.channels, labels.channels) as 3 | 6;
    this.pipeline = new WindowPipeline(contract.input, { ...stream, channels: this.channels });
    this.smoother = new Smoother(labels.smoothing);
    this.names = names(labels);
  }

  /** Counts so far. */
  get stats(): Readonly<StreamStats> {
    return this.pipeline.stats;
  }

  /**
   * Add (n) device times in seconds and (n * C) values in m/s2 with gravity and rad/s, row by row -> the events that
   * they complete, in order. Calls may overlap: they resolve in the order in which they were made.
   */
  push(tS: Float64Array, x: Float32Array): Promise<Event[]> {
    const channels = this.stream.channels;
    if (x.length !== tS.length * channels) {
      throw new RangeError(`${tS.length} times but ${x.length} values of ${channels} channels`);
    }
    const cut = this.pipeline.update(tS, x.filter((_, i) => i % channels < this.channels));
    return this.enqueue(() => this.classify(cut));
  }

  /** Forget the samples so far, but not the counts: the next sample does not continue them. */
  reset(): void {
    this.pipeline.reset();
    void this.enqueue(async () => this.smoother.reset());
  }

  /** Turn windows into predictions, or into a gap where the sensor repeats one value. */
  private async classify(cut: readonly (Window | Gap)[]): Promise<Event[]> {
    const events: Event[] = [];
    for (const event of cut) {
      if (event.kind === "gap") {
        this.smoother.reset();
        events.push(event);
        continue;
      }
      const stuck = this.isConstant(event.x);
      if (!stuck) {
        events.push(await this.predict(event));
      } else if (!this.stuck) {
        this.smoother.reset();
        this.pipeline.stats.gaps++;
        const lengthS = (this.contract.input.window - 1) / this.contract.input.rate_hz;
        events.push({ kind: "gap", startS: event.endS - lengthS, endS: event.endS, reason: "constant" });
      }
      this.stuck = stuck;
    }
    return events;
  }

  private async predict(window: Window): Promise<Prediction> {
    const startMs = performance.now();
    const embedding = normalized(await this.runtime.embed(prepare(window.x, this.contract.input)));
    const inferenceMs = performance.now() - startMs;
    const p = probabilities(embedding, this.labels);
    const scores = this.smoother.update(p);
    const best = largest(scores);
    return {
      kind: "prediction",
      endS: window.endS,
      label: this.names[best],
      score: scores[best],
      rawLabel: this.names[largest(p)],
      scores,
      embedding,
      inferenceMs,
    };
  }

  /** Whether the accelerometer repeats one value for the whole window. */
  private isConstant(x: Float32Array): boolean {
    const { channels } = this;
    return x.every((value, i) => i % channels >= 3 || value === x[i % channels]);
  }

  private enqueue<T>(step: () => Promise<T>): Promise<T> {
    const done = this.last.then(step);
    this.last = done.catch(() => undefined);
    return done;
  }
}
