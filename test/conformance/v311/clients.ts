import type { Connect } from "../../../src/mqtt/packet.ts";
import { bytesOf } from "../../vectors/hex.ts";
import { TestClient } from "../../support/client.ts";

/** A 3.1.1 client with a Clean Session and a name of its own, unless told otherwise. */
export function connect311(port: number, connect: Partial<Connect> = {}): Promise<TestClient> {
  return TestClient.connect(port, { protocolVersion: 4, ...connect });
}

/** Speaks 3.1.1 in bytes as `bytesOf` reads them, on a connection that has said nothing yet. */
export async function speak(port: number, written: string): Promise<TestClient> {
  const client = await TestClient.open(port);
  client.version = 4;
  client.sendBytes(bytesOf(written));
  return client;
}

/** `speak` by a client that has connected. */
export async function speakConnected(port: number, written: string): Promise<TestClient> {
  const client = await connect311(port);
  client.sendBytes(bytesOf(written));
  return client;
}
