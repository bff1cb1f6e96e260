/** LiteRT.js: the int8 network with float32 input and output, on the CPU (XNNPACK in WebAssembly, one thread). */

import { getGlobalLiteRtPromise, loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import type { Contract, Runtime } from "../core/types";

/** LiteRT.js prints progress as errors; send it to console.debug instead. */
function quietly(): void {
  const printErr = (line: string): void => (/^(INFO|WARNING):/.test(line) ? console.debug(line) : console.error(line));
  Object.assign(globalThis, { Module: { printErr } }); // its loader passes this on, then removes it
}

async function load(wasm: string): Promise<void> {
  if (!getGlobalLiteRtPromise()) {
    quietly();
    await loadLiteRt(wasm);
  }
  await getGlobalLiteRtPromise();
}

/** Open `model` (.tflite); LiteRT.js loads its WebAssembly from the folder URL `wasm`. */
export async function openLiteRt(model: Uint8Array, wasm: string, contract: Contract): Promise<Runtime> {
  await load(wasm);
  const compiled = await loadAndCompile(model, { accelerator: "wasm" });
  const shape = [...compiled.getInputDetails()[0].shape];
  const values = contract.input.channels.length * contract.input.window;
  if (shape.reduce((product, size) => product * size, 1) !== values) {
    compiled.delete();
    throw new Error(`the model takes (${shape.join(", ")}), but mujo.json says ${values} values`);
  }
  return {
    name: "litert",
    async embed(window) {
      const input = new Tensor(window, shape);
      try {
        const [output] = await compiled.run(input);
        const embedding = (output.toTypedArray() as Float32Array).slice();
        output.delete();
        return embedding;
      } finally {
        input.delete();
      }
    },
    close: () => compiled.delete(),
  };
}
