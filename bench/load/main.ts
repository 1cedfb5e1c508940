/** The generator's process: `node bench/load/main.ts '<job as JSON>'` prints the result as its last line, in JSON. */
import { runConnect } from "./connect.ts";
import { runDrain } from "./drain.ts";
import { runFill } from "./fill.ts";
import { runFlow } from "./flow.ts";
import type { Job, LoadResult } from "./job.ts";

const job = JSON.parse(process.argv[2]) as Job;
const result = await run(job).catch(
  (error: Error): LoadResult => ({ figures: {}, counts: {}, failure: error.message }),
);
// Connections of a broken run may still be open: they are no reason to stay.
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit());

function run(job: Job): Promise<LoadResult> {
  switch (job.kind) {
    case "flow":
      return runFlow(job);
    case "connect":
      return runConnect(job);
    case "fill":
      return runFill(job);
    case "drain":
      return runDrain(job, { ready: () => process.stdout.write("ready\n") });
  }
}
