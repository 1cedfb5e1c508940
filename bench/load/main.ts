/** The generator's process: `node bench/load/main.ts '<job as JSON>'` prints the result as one line of JSON. */
import { runConnect } from "./connect.ts";
import { runFlow } from "./flow.ts";
import type { Job, LoadResult } from "./job.ts";

const job = JSON.parse(process.argv[2]) as Job;
const result = await run(job).catch(
  (error: Error): LoadResult => ({ figures: {}, counts: {}, failure: error.message }),
);
// Connections of a broken run may still be open: they are no reason to stay.
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit());

function run(job: Job): Promise<LoadResult> {
  return job.kind === "flow" ? runFlow(job) : runConnect(job);
}
