/** Opens the model of an artifact in a runtime that this browser supports. */

import type { Contract, Runtime } from "../core/types";

export type RuntimeName = Runtime["name"];

/** Runtimes in order of preference. */
export const RUNTIMES: readonly RuntimeName[] = ["litert", "onnx"];

/** No runtime started; the message has the reasons. */
export class RuntimeUnavailable extends Error {
  override readonly name = "RuntimeUnavailable";
}

/**
 * Open the model of the artifact at `base`.
 *
 * @param base URL of the artifact's folder
 * @param contract its mujo.json
 * @param only this runtime; by default LiteRT.js, or onnxruntime-web where that does not start (see `Runtime.name`)
 * @throws RuntimeUnavailable with the error of each
 */
export async function openRuntime(base: string, contract: Contract, only?: RuntimeName): Promise<Runtime> {
  const errors: string[] = [];
  for (const name of only ? [only] : RUNTIMES) {
    try {
      return await open(name, base, contract);
    } catch (error) {
      errors.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new RuntimeUnavailable(`the model does not run in this browser (${errors.join("; ")})`);
}

async function open(name: RuntimeName, base: string, contract: Contract): Promise<Runtime> {
  const folder = new URL(base, document.baseURI);
  const model = contract.models.find(({ runtime, dtype }) => runtime === name && dtype === "float32");
  if (!model) throw new Error("mujo.json lists no model file for it");
  const answer = await fetch(new URL(model.file, folder));
  if (!answer.ok) throw new Error(`${model.file} cannot be read (HTTP ${answer.status})`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const wasm = new URL("wasm/", folder).href;
  // Loaded on demand: a page needs only one of them.
  if (name === "litert") return (await import("./litert")).openLiteRt(bytes, wasm, contract);
  return (await import("./onnx")).openOnnx(bytes, wasm, contract);
}
