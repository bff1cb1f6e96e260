import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { defaultClientConditions, defineConfig, type Plugin } from "vite";

const packages = createRequire(import.meta.url);

/** Emits the files that the runtimes load by name from wasm/ next to the page: no CDN, one thread. */
function wasm(): Plugin {
  const litert = join(dirname(packages.resolve("@litertjs/core")), "..", "wasm");
  const files = [
    join(litert, "litert_wasm_internal.js"),
    join(litert, "litert_wasm_internal.wasm"),
    // For browsers without relaxed SIMD, such as Safari.
    join(litert, "litert_wasm_compat_internal.js"),
    join(litert, "litert_wasm_compat_internal.wasm"),
    packages.resolve("onnxruntime-web/ort-wasm-simd-threaded.mjs"),
    packages.resolve("onnxruntime-web/ort-wasm-simd-threaded.wasm"),
  ];
  return {
    name: "wasm",
    generateBundle() {
      for (const file of files) {
        // Some servers do not send .mjs as JavaScript, and browsers reject modules of another type.
        const name = basename(file).replace(/\.mjs$/, ".js");
        this.emitFile({ type: "asset", fileName: `wasm/${name}`, source: readFileSync(file) });
      }
      const licenses = readFileSync(join(import.meta.dirname, "licenses.txt"));
      this.emitFile({ type: "asset", fileName: "wasm/LICENSES.txt", source: licenses });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [wasm()],
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  build: {
    target: "es2022",
    license: { fileName: "THIRD_PARTY.md" },
    rolldownOptions: {
      input: { index: "index.html", selftest: "selftest.html", sw: "src/sw.ts", mujo: "src/mujo.ts" },
      preserveEntrySignatures: "exports-only",
      output: {
        // A service worker controls its own folder and below; it and the module for other pages need fixed names.
        entryFileNames: ({ name }) => (["sw", "mujo"].includes(name) ? "[name].js" : "assets/[name]-[hash].js"),
      },
    },
  },
});
