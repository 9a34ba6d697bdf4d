// Makes a component of app.js: `node build.mjs OUT.wasm`, in a directory where the packages of
// package.json are installed.
//
// The engine inside (StarlingMonkey) exports wasi:http of version 0.2.10. jco brings the WIT files
// of 0.2.12, of which the older version differs in the number alone.
import { componentize } from "@bytecodealliance/componentize-js";
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

const builtin = new URL("node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12", import.meta.url);
const here = fileURLToPath(new URL(".", import.meta.url));
const wit = await mkdtemp(join(here, ".wit-"));
try {
  await cp(join(here, "wit"), wit, { recursive: true });
  for (const name of await readdir(builtin)) {
    const text = await readFile(join(fileURLToPath(builtin), name, "package.wit"), "utf8");
    await cp(join(fileURLToPath(builtin), name), join(wit, "deps", name), { recursive: true });
    const path = join(wit, "deps", name, "package.wit");
    await writeFile(path, text.replaceAll("0.2.12", "0.2.10"));
  }
  const source = await readFile(join(here, "app.js"), "utf8");
  const { component } = await componentize(source, { witPath: wit, worldName: "app" });
  await writeFile(process.argv[2] ?? "app.wasm", component);
} finally {
  await rm(wit, { recursive: true });
}
