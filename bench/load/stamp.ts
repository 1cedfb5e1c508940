/**
 * What every message carries at the start of its payload: when it was due, who sent it, and its number. Binary for
 * speed; as hexadecimal text where the payload must survive as a JSON string on its way through a webhook.
 */
export interface StampFormat {
  readonly bytes: number;
  write(view: DataView, at: number, stamp: Stamp): void;
  micros(view: DataView, at: number): number;
  sender(view: DataView, at: number): number;
  sequence(view: DataView, at: number): number;
}

/** One reusable object per sender: stamping makes nothing. */
export interface Stamp {
  micros: number;
  sender: number;
  sequence: number;
}

export const binaryStamp: StampFormat = {
  bytes: 12,
  write(view, at, { micros, sender, sequence }) {
    view.setInt32(at, micros);
    view.setUint32(at + 4, sender);
    view.setUint32(at + 8, sequence);
  },
  micros: (view, at) => view.getInt32(at),
  sender: (view, at) => view.getUint32(at + 4),
  sequence: (view, at) => view.getUint32(at + 8),
};

export const textStamp: StampFormat = {
  bytes: 24,
  write(view, at, { micros, sender, sequence }) {
    writeHex(view, at, micros);
    writeHex(view, at + 8, sender);
    writeHex(view, at + 16, sequence);
  },
  micros: (view, at) => readHex(view, at) | 0,
  sender: (view, at) => readHex(view, at + 8),
  sequence: (view, at) => readHex(view, at + 16),
};

/** The smallest payload any scenario may ask for. */
export const payloadBytesMin = binaryStamp.bytes;

const digits = Uint8Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));

function writeHex(view: DataView, at: number, value: number): void {
  for (let i = 0; i < 8; i++) view.setUint8(at + i, digits[(value >>> (28 - 4 * i)) & 15]);
}

function readHex(view: DataView, at: number): number {
  let value = 0;
  for (let i = 0; i < 8; i++) {
    const digit = view.getUint8(at + i);
    value = (value << 4) | (digit <= 57 ? digit - 48 : digit - 87);
  }
  return value >>> 0;
}
