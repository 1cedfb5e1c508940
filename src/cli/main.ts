/** What `bin/hookmq.cjs` runs. */
import { runProgram } from "./program.ts";
import { systemTerminal } from "./terminal.ts";

const args = process.argv.slice(2);
const isBroker = args[0] === "start" || args[0] === "restart";

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // A broker owes more to its clients than to its log: a reader that has gone or a full disk does not end it.
  if (isBroker) return;
  // `hookmq sub … | head -1`: whoever reads has seen enough.
  if (error.code === "EPIPE") process.exit(0);
  process.stderr.write(`the output cannot be written: ${error.message}\n`);
  process.exit(1);
});
// There is nobody left to complain to.
process.stderr.on("error", () => {});

process.exitCode = await runProgram(args, {
  terminal: systemTerminal,
  signals: process,
  stdin: process.stdin,
  stdout: process.stdout,
  env: process.env,
  cwd: process.cwd(),
});
// A command is over when it says so: what may still be open, such as the standard input, keeps nobody waiting.
process.exit();
