import assert from "node:assert/strict";
import { test } from "vitest";
import { ReasonCode } from "../reason-code.ts";
import { reasonCodeOf, returnCodeOf } from "./connack.ts";

for (const returnCode of [0, 1, 2, 3, 4, 5] as const) {
  test(`return code ${returnCode} survives its way through a Reason Code [MQTT311 3.2.2.3]`, () => {
    const reasonCode = reasonCodeOf(returnCode);
    assert.ok(reasonCode !== undefined);
    assert.equal(returnCodeOf(reasonCode), returnCode);
  });
}

test("6 and above are no return codes [MQTT311 3.2.2.3]", () => {
  for (const returnCode of [6, 128, 255]) assert.equal(reasonCodeOf(returnCode), undefined);
});

for (const [name, returnCode] of [
  ["banned", 5],
  ["badAuthenticationMethod", 4],
  ["serverBusy", 3],
  ["serverShuttingDown", 3],
  ["quotaExceeded", 3],
  ["connectionRateExceeded", 3],
] as const) {
  test(`${name} is return code ${returnCode} before 5.0`, () => {
    assert.equal(returnCodeOf(ReasonCode[name]), returnCode);
  });
}
