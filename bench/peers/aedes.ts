/** npm's aedes as a broker of its own process: `node bench/peers/aedes.ts PORT`. */
import { createServer } from "node:net";
import { Aedes } from "aedes";

/** As wide as its options let it be: with the default of 100 it takes a third of the load. */
const broker = await Aedes.createBroker({ concurrency: 10_000, queueLimit: 100_000 });
createServer({ noDelay: true }, broker.handle).listen(Number(process.argv[2]), "127.0.0.1", 2048);
