// node run.mjs MODULE.wasm: calls each training function that the module exports, and prints its
// name and the fingerprint in hexadecimal.
import { readFileSync } from "node:fs";

const path = process.argv[2];
if (path === undefined) {
  console.error("usage: node run.mjs MODULE.wasm");
  process.exit(2);
}
const { instance } = await WebAssembly.instantiate(readFileSync(path), {});
for (const [name, train] of Object.entries(instance.exports)) {
  if (typeof train !== "function") continue;
  const address = train();
  if (address === 0) {
    console.error(`${name}: training was refused`);
    process.exit(1);
  }
  const bytes = new Uint8Array(instance.exports.memory.buffer, address, 32);
  console.log(name, Buffer.from(bytes).toString("hex"));
}
