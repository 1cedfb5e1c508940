import assert from "node:assert/strict";
import { test } from "vitest";
import { HttpRequests } from "./http-requests.ts";

const stream = Buffer.from(
  'POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n{"a":1}' +
    "POST /b HTTP/1.1\r\nContent-Length:0\r\nhost: x\r\n\r\n" +
    'POST /c HTTP/1.1\r\nHost: x\r\nCONTENT-LENGTH: 9\r\n\r\n{"c":"é"}',
  "latin1",
);

test("bodies are found wherever the stream is cut", () => {
  for (let at = 0; at <= stream.length; at++) {
    const bodies: string[] = [];
    const requests = new HttpRequests((body) => bodies.push(body.toString("latin1")));
    requests.receive(stream.subarray(0, at));
    requests.receive(stream.subarray(at));
    assert.deepEqual(bodies, ['{"a":1}', "", '{"c":"é"}'], `cut at ${at}`);
  }
});

test("byte by byte", () => {
  const bodies: number[] = [];
  const requests = new HttpRequests((body) => bodies.push(body.length));
  for (const byte of stream) requests.receive(Buffer.from([byte]));
  assert.deepEqual(bodies, [7, 0, 9]);
});

test("a request without Content-Length is refused", () => {
  const requests = new HttpRequests(() => assert.fail("no body was promised"));
  assert.throws(() => requests.receive(Buffer.from("POST / HTTP/1.1\r\nhost: x\r\n\r\n")), /Content-Length/);
});
