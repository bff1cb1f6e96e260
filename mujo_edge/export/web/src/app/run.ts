/** A session: motion sensor -> storage and recognizer -> listener. */

import { Recognizer } from "../core/recognizer";
import type { Contract, Event, LabelSet, Runtime, StreamStats } from "../core/types";
import { allowMotion, Awake, type Batch, Motion, type Sensor } from "./motion";
import type { SessionMeta, Store, Stored } from "./store";
import { Median, Tally } from "./tally";

/** Milliseconds between batches of samples that are stored and recognized: the most that a killed tab loses. */
const BATCH_MS = 250;

/** Seconds without a sample after which the listener is notified. */
const IDLE_AFTER_S = 2.5;

/** Number of windows over which the displayed inference time is the median. */
const LATENCIES = 100;

const SILENT =
  "There are no motion events. This device may have no motion sensor, or the browser blocks it: " +
  "look at its site settings for motion sensors.";

export type RunState = "running" | "paused" | "stopped";

export interface Listener {
  /** Called after every batch with its events. */
  recognized(events: readonly Event[]): void;
  /** Called while samples are missing, with the seconds since the last one. */
  idle(seconds: number): void;
  /** Called when a sample recording is over and all of it is recognized. */
  ended(): void;
  /** Called with a problem to show to the user; "" when it is over. */
  problem(text: string): void;
}

export class Run {
  readonly tally: Tally;
  readonly inferenceMs = new Median(LATENCIES);
  readonly id = Date.now();
  state: RunState = "running";
  samples = 0;
  /** Seconds since the first sample. */
  durationS = 0;

  private readonly awake = new Awake();
  private readonly labels: LabelSet;
  private readonly hopS: number;
  private recognizer: Recognizer | null = null;
  private timer = 0;
  private working: Promise<void> = Promise.resolve();
  private shownProblem = "";
  private lastSampleMs = 0;
  private stored: Stored = { samples: 0, events: 0 };
  /** Batches and events that are not stored yet. */
  private batches: Batch[] = [];
  private events: Event[] = [];
  private release!: () => void;

  private constructor(
    private readonly contract: Contract,
    readonly labelSet: string,
    private readonly runtime: Runtime,
    private readonly store: Store | null,
    private readonly listener: Listener,
    private readonly motion: Sensor,
  ) {
    this.labels = contract.label_sets[labelSet];
    this.hopS = contract.input.hop / contract.input.rate_hz;
    this.tally = new Tally(this.hopS);
  }

  /** Start with `sensor`, else with that of this device after its permission; throws `SensorError`. */
  static async start(
    contract: Contract,
    labelSet: string,
    runtime: Runtime,
    store: Store | null,
    listener: Listener,
    sensor?: Sensor,
  ): Promise<Run> {
    if (!sensor) await allowMotion();
    const run = new Run(contract, labelSet, runtime, store, listener, sensor ?? new Motion());
    const over = new Promise<void>((done) => (run.release = done));
    void navigator.locks?.request(lockName(run.id), () => over);
    document.addEventListener("visibilitychange", run.flush);
    addEventListener("pagehide", run.flush);
    run.resume();
    return run;
  }

  /** Null before the first sample. */
  get stats(): StreamStats | null {
    return this.recognizer?.stats ?? null;
  }

  /** Null before the first sample. */
  get channels(): 3 | 6 | null {
    return this.motion.channels;
  }

  resume(): void {
    this.state = "running";
    this.lastSampleMs = performance.now();
    this.motion.start();
    this.awake.hold();
    this.timer = window.setInterval(this.flush, BATCH_MS);
  }

  pause(): void {
    this.state = "paused";
    this.motion.stop();
    this.awake.release();
    clearInterval(this.timer);
    this.flush();
  }

  /** Returns when all samples are recognized and stored. */
  async stop(): Promise<void> {
    this.pause();
    this.state = "stopped";
    document.removeEventListener("visibilitychange", this.flush);
    removeEventListener("pagehide", this.flush);
    await this.working;
    if (this.samples) await this.save();
    this.release();
  }

  private readonly flush = (): void => {
    const batch = this.motion.take();
    const now = performance.now();
    if (batch.tS.length) this.lastSampleMs = now;
    const idleS = (now - this.lastSampleMs) / 1000;
    if (this.state === "running" && this.motion.ended && !batch.tS.length) {
      clearInterval(this.timer);
      void this.working.then(() => this.listener.ended());
      return;
    }
    if (this.state === "running" && !document.hidden && idleS > IDLE_AFTER_S) {
      if (!this.samples && this.shownProblem !== SILENT) this.show(SILENT);
      this.listener.idle(idleS);
    }
    if (batch.tS.length || this.batches.length) this.working = this.working.then(() => this.work(batch));
  };

  /** Store a batch, then recognize it: if the model fails, nothing is lost. */
  private async work(batch: Batch): Promise<void> {
    if (batch.tS.length) {
      if (this.shownProblem === SILENT) this.show("");
      this.samples += batch.tS.length;
      this.durationS = batch.tS[batch.tS.length - 1];
      this.batches.push(batch);
    }
    await this.save();
    if (!batch.tS.length) return;
    try {
      const events = await this.recognize(batch);
      for (const event of events) {
        this.tally.add(event);
        if (event.kind === "prediction") this.inferenceMs.add(event.inferenceMs);
      }
      this.events.push(...events);
      if (events.length) await this.save();
      this.listener.recognized(events);
    } catch (error) {
      this.show(`The model failed: ${(error as Error).message}. Samples are still recorded.`);
    }
  }

  /** Recognize a batch, without the gyroscope for a label set that does not use it. */
  private recognize({ tS, x }: Batch): Promise<Event[]> {
    const columns = x.length / tS.length;
    const channels = columns === 6 && this.labels.channels === 6 ? 6 : 3;
    this.recognizer ??= new Recognizer(this.contract, this.labels, { channels }, this.runtime);
    return this.recognizer.push(tS, channels === columns ? x : x.filter((_, i) => i % columns < channels));
  }

  /** Store pending batches and events; on failure they are retried with the next batch. */
  private async save(): Promise<void> {
    const batches = [...this.batches];
    const events = [...this.events];
    try {
      if (this.store) this.stored = await this.store.append(this.meta(), this.stored, batches, events);
      this.batches.splice(0, batches.length);
      this.events.splice(0, events.length);
      if (this.shownProblem.startsWith(UNSTORED)) this.show("");
    } catch (error) {
      this.show(`${UNSTORED}: ${(error as Error).message} Is the device full?`);
    }
  }

  private show(text: string): void {
    this.shownProblem = text;
    this.listener.problem(text);
  }

  private meta(): SessionMeta {
    return {
      id: this.id,
      name: "",
      startedMs: this.id,
      labelSet: this.labelSet,
      placement: this.labels.placement,
      bundle: `${this.contract.bundle} ${this.contract.version}`,
      channels: this.motion.channels ?? 3,
      hopS: this.hopS,
      samples: this.samples,
      durationS: this.durationS,
      counts: Object.fromEntries(this.tally.counts),
      stopped: this.state === "stopped",
    };
  }
}

const UNSTORED = "This session cannot be stored now";

/** Name of the lock that is held while a session runs in any tab. */
export const lockName = (id: number): string => `mujo-edge session ${id}`;
