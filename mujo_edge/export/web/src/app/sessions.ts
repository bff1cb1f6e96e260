/** The list of stored sessions: rename, export, delete. */

import { head, Rows } from "./csv";
import { at, clock, create, setText } from "./page";
import { lockName } from "./run";
import type { SessionMeta, Store } from "./store";

/** Number of labels shown with a session. */
const SHOWN = 3;

export class Sessions {
  constructor(
    private readonly store: Store,
    private readonly problem: (text: string) => void,
  ) {}

  async show(): Promise<void> {
    const sessions = await this.store.sessions();
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    const running = new Set(held.map((lock) => lock.name));
    at("sessions-none").hidden = sessions.length > 0;
    at("sessions").replaceChildren(
      ...sessions.map((session) => this.item(session, !session.stopped && running.has(lockName(session.id)))),
    );
  }

  private item(session: SessionMeta, runs: boolean): HTMLLIElement {
    const item = create("li");
    const labels = Object.entries(session.counts)
      .sort(([, a], [, b]) => b.seconds - a.seconds)
      .slice(0, SHOWN)
      .map(([label, { seconds }]) => `${label} ${clock(Math.round(seconds))}`);
    const ended = runs ? "running" : session.stopped ? "" : "interrupted, kept";
    const about = [clock(session.durationS), session.labelSet, ended].filter(Boolean).join(" · ");
    item.append(
      create("h3", title(session)),
      create("p", about, "soft"),
      create("p", labels.join(", ") || "nothing recognized", "soft"),
    );
    if (!runs) item.append(this.buttons(session));
    return item;
  }

  private buttons(session: SessionMeta): HTMLDivElement {
    const row = create("div", "", "controls");
    const actions: [string, () => Promise<void>][] = [
      ["Export", () => this.export(session)],
      ["Rename", () => this.rename(session)],
      ["Delete", () => this.remove(session)],
    ];
    for (const [text, action] of actions) {
      const button = create("button", text);
      button.type = "button";
      button.setAttribute("aria-label", `${text} ${title(session)}`);
      button.addEventListener("click", () => {
        action().catch((error: Error) => this.problem(`${text} did not work: ${error.message}`));
      });
      row.append(button);
    }
    return row;
  }

  /** Export a session to the share sheet of a phone, else as a download. */
  private async export(session: SessionMeta): Promise<void> {
    const rows = new Rows(await this.store.events(session.id), session.hopS, session.channels);
    const parts: BlobPart[] = [head(session)];
    // Browsers can keep blobs outside of memory.
    for await (const batches of this.store.batches(session.id)) {
      parts.push(new Blob(batches.map((batch) => rows.text(batch))));
    }
    const began = new Date(session.startedMs).toISOString().slice(0, 19);
    const name = `${(session.name || `mujo-edge ${began}`).replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`;
    const file = new File(parts, name, { type: "text/csv" });
    if (navigator.canShare?.({ files: [file] })) {
      try {
        return await navigator.share({ files: [file] });
      } catch (error) {
        if ((error as Error).name === "AbortError") return; // canceled by the user
      }
    }
    const link = create("a");
    link.href = URL.createObjectURL(file);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  private async rename(session: SessionMeta): Promise<void> {
    const field = at<HTMLInputElement>("name");
    field.value = title(session);
    field.select();
    if (!(await confirmed("rename"))) return;
    await this.store.rename(session.id, field.value.trim());
    await this.show();
  }

  private async remove(session: SessionMeta): Promise<void> {
    setText(at("remove-about"), `${title(session)}, ${clock(session.durationS)}. This cannot be undone.`);
    if (!(await confirmed("remove"))) return;
    await this.store.remove(session.id);
    await this.show();
  }
}

/** Name of a session, else its start time. */
function title(session: SessionMeta): string {
  const began = new Date(session.startedMs);
  return session.name || began.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** Open a dialog -> whether the user confirmed it. */
function confirmed(id: string): Promise<boolean> {
  const dialog = at<HTMLDialogElement>(id);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => {
    dialog.onclose = () => {
      // The event is asynchronous: the dialog may be open again by now, for another question.
      if (!dialog.open) done(dialog.returnValue === "yes");
    };
  });
}
