import type { Progress } from "./control-protocol.ts";
import type { Terminal } from "./terminal.ts";

/** Tells a person how far it is: a line for each tenth. */
export function progressLines(terminal: Terminal): (progress: Progress) => void {
  let shown = 0;
  return ({ done, total }) => {
    const tenth = total === 0 ? 0 : Math.floor((done / total) * 10);
    if (tenth <= shown || tenth >= 10) return;
    shown = tenth;
    terminal.print(`${tenth * 10} %`);
  };
}
