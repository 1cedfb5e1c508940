import assert from "node:assert/strict";
import { test } from "vitest";
import { referencePage } from "./configuration-reference.ts";

test("the reference has a row for each key, with type, default and meaning, and no empty meaning", () => {
  const page = referencePage();
  assert.match(page, /^\| `webhook\.pool_size` \| a whole number from 1 to 1024 \| `32` \| .+ \|$/m);
  assert.match(page, /^\| `webhook\.events\[\]\.event` \| event name \| \*required\* \| .+ \|$/m);
  assert.match(page, /^\| `listeners\.tcp\.<name>\.bind` \| .+ \|$/m);
  assert.match(page, /^## bridges\n\nTopics .+ \*Not yet\*/m);
  const rows = page.split("\n").filter((line) => line.startsWith("| `"));
  assert.ok(rows.length > 60);
  for (const row of rows) assert.match(row, /\| [A-Z`][^|]+ \|$/, row);
});
