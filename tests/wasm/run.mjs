// node run.mjs MODULE.wasm: trains and prints the fingerprint in hexadecimal.
import { readFileSync } from "node:fs";

const path = process.argv[2];
if (path === undefined) {
  console.error("usage: node run.mjs MODULE.wasm");
  process.exit(2);
}
const { instance } = await WebAssembly.instantiate(readFileSync(path), {});
const address = instance.exports.train();
if (address === 0) {
  console.error("training was refused");
  process.exit(1);
}
const bytes = new Uint8Array(instance.exports.memory.buffer, address, 32);
console.log(Buffer.from(bytes).toString("hex"));
