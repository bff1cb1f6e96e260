/** Sessions in this browser's IndexedDB. Once `append` resolves, its data survives a killed tab. */

import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { Event } from "../core/types";
import type { Batch } from "./motion";
import type { Count } from "./tally";

export interface SessionMeta {
  readonly id: number;
  readonly name: string;
  readonly startedMs: number;
  readonly labelSet: string;
  readonly placement: string;
  readonly bundle: string;
  readonly channels: 3 | 6;
  readonly hopS: number;
  readonly samples: number;
  readonly durationS: number;
  readonly counts: Readonly<Record<string, Count>>;
  /** False while it runs, and forever if the page was killed. */
  readonly stopped: boolean;
}

/** The keys of batches and events end with the number of their first sample or event. */
interface Schema extends DBSchema {
  sessions: { key: number; value: SessionMeta };
  batches: { key: [session: number, first: number]; value: Batch };
  events: { key: [session: number, first: number]; value: readonly Event[] };
}

/** How much of a session is stored. */
export interface Stored {
  readonly samples: number;
  readonly events: number;
}

const NAME = "mujo-edge";
const VERSION = 1;

export class Store {
  private constructor(private readonly db: IDBPDatabase<Schema>) {}

  /** Throws where the browser offers no storage, as in some private windows. */
  static async open(): Promise<Store> {
    const db = await openDB<Schema>(NAME, VERSION, {
      upgrade(database) {
        database.createObjectStore("sessions", { keyPath: "id" });
        database.createObjectStore("batches");
        database.createObjectStore("events");
      },
    });
    return new Store(db);
  }

  /** Newest first. */
  async sessions(): Promise<SessionMeta[]> {
    return (await this.db.getAll("sessions")).sort((a, b) => b.startedMs - a.startedMs);
  }

  async rename(id: number, name: string): Promise<void> {
    const transaction = this.db.transaction("sessions", "readwrite");
    const session = await transaction.store.get(id);
    if (session) await transaction.store.put({ ...session, name });
    await transaction.done;
  }

  async remove(id: number): Promise<void> {
    const transaction = this.db.transaction(["sessions", "batches", "events"], "readwrite");
    await Promise.all([
      transaction.objectStore("sessions").delete(id),
      transaction.objectStore("batches").delete(all(id)),
      transaction.objectStore("events").delete(all(id)),
      transaction.done,
    ]);
  }

  /**
   * Append batches and events after `stored` and update the session, in one transaction. The session keeps the name
   * that the user gave it.
   */
  async append(
    session: SessionMeta,
    stored: Stored,
    batches: readonly Batch[],
    events: readonly Event[],
  ): Promise<Stored> {
    let { samples } = stored;
    const transaction = this.db.transaction(["sessions", "batches", "events"], "readwrite");
    const sessions = transaction.objectStore("sessions");
    const { name } = (await sessions.get(session.id)) ?? session;
    await Promise.all([
      sessions.put({ ...session, name }),
      ...batches.map((batch) => {
        const first = samples;
        samples += batch.tS.length;
        return transaction.objectStore("batches").add(batch, [session.id, first]);
      }),
      events.length ? transaction.objectStore("events").add(events, [session.id, stored.events]) : null,
      transaction.done,
    ]);
    return { samples, events: stored.events + events.length };
  }

  async events(id: number): Promise<Event[]> {
    return (await this.db.getAll("events", all(id))).flat();
  }

  /** Batches in order, a part at a time: a session of hours need not fit into memory. */
  async *batches(id: number): AsyncGenerator<readonly Batch[]> {
    const PART = 256;
    for (let first = 0; ;) {
      const some = await this.db.getAll("batches", all(id, first), PART);
      if (!some.length) return;
      yield some;
      first += some.reduce((samples, batch) => samples + batch.tS.length, 0);
    }
  }
}

/** Keys of a session from the number `first` on; in IndexedDB an array sorts after every number. */
const all = (id: number, first = 0): IDBKeyRange => IDBKeyRange.bound([id, first], [id, []]);
