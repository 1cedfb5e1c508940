/** What `bin/hookmq.cjs` runs. */
import { runProgram } from "./program.ts";
import { systemTerminal } from "./terminal.ts";

// `hookmq sub … | head -1`: whoever reads has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

process.exitCode = await runProgram(process.argv.slice(2), {
  terminal: systemTerminal,
  signals: process,
  stdin: process.stdin,
  env: process.env,
  cwd: process.cwd(),
});
// A command is over when it says so: what may still be open, such as the standard input, keeps nobody waiting.
process.exit();
