/** The model of an artifact, in the runtime that this browser can use. */

import type { Contract, Runtime } from "../core/types";

export type RuntimeName = Runtime["name"];

/** In the order of choice. */
export const RUNTIMES: readonly RuntimeName[] = ["litert", "onnx"];

/** A runtime that did not start, and why. */
export class RuntimeUnavailable extends Error {
  override readonly name = "RuntimeUnavailable";
}

/**
 * Open the model of the artifact at `base`.
 *
 * @param base URL of the artifact's folder
 * @param contract its mujo.json
 * @param only this runtime; without it LiteRT.js, and onnxruntime-web where that does not start: `name` tells which
 * @throws RuntimeUnavailable with what each of them said
 */
export async function openRuntime(base: string, contract: Contract, only?: RuntimeName): Promise<Runtime> {
  const said: string[] = [];
  for (const name of only ? [only] : RUNTIMES) {
    try {
      return await open(name, base, contract);
    } catch (error) {
      said.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new RuntimeUnavailable(`the model does not run in this browser (${said.join("; ")})`);
}

async function open(name: RuntimeName, base: string, contract: Contract): Promise<Runtime> {
  const folder = new URL(base, document.baseURI);
  const model = contract.models.find(({ runtime, dtype }) => runtime === name && dtype === "float32");
  if (!model) throw new Error("mujo.json lists no model file for it");
  const answer = await fetch(new URL(model.file, folder));
  if (!answer.ok) throw new Error(`${model.file} cannot be read (HTTP ${answer.status})`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const wasm = new URL("wasm/", folder).href;
  // Each is loaded when it is asked for: nobody needs both.
  if (name === "litert") return (await import("./litert")).openLiteRt(bytes, wasm, contract);
  return (await import("./onnx")).openOnnx(bytes, wasm, contract);
}
