import { expect, test } from "vitest";
import { maskedUrl } from "./secrets.ts";

test.each([
  ["http://127.0.0.1:8888/in?site=7#top", "http://127.0.0.1:8888/in?site=7#top"],
  ["https://user:hunter2@hook.example/in", "https://user:********@hook.example/in"],
  ["https://hook.example/in?site=7&token=hunter2", "https://hook.example/in?site=7&token=********"],
  ["https://hook.example/in?api_key=hunter2&site=7", "https://hook.example/in?api_key=********&site=7"],
])("%s is shown as %s", (url, shown) => {
  expect(maskedUrl(url)).toBe(shown);
});
