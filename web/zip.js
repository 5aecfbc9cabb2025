// A ZIP archive of stored (not compressed) files: images are compressed already. PKWARE's APPNOTE.TXT, version 2.0.

const LARGEST = 0xffffffff;
const UTF8 = 0x0800;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function crc32(bytes) {
  let value = LARGEST;
  for (const byte of bytes) value = (value >>> 8) ^ TABLE[(value ^ byte) & 255];
  return (value ^ LARGEST) >>> 0;
}

// Numbers of 16 bits each, and one of 32.
const words = (...numbers) => numbers.flatMap((number) => [number & 255, (number >>> 8) & 255]);
const long = (number) => words(number, number >>> 16);

function dosMoment(when) {
  const clock = (when.getHours() << 11) | (when.getMinutes() << 5) | (when.getSeconds() >> 1);
  const day = ((Math.max(1980, when.getFullYear()) - 1980) << 9) | ((when.getMonth() + 1) << 5) | when.getDate();
  return words(clock, day);
}

/**
 * An archive of files, each `{name, bytes}`, as a Blob.
 * Throws RangeError where they are too large for the plain format (4 GiB, 65535 files).
 */
export function zip(files, when = new Date()) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, bytes } of files) {
    const label = new TextEncoder().encode(name);
    const size = long(bytes.length);
    const sums = [...long(crc32(bytes)), ...size, ...size];
    const common = [...words(20, UTF8, 0), ...dosMoment(when), ...sums, ...words(label.length, 0)];
    const header = Uint8Array.from([...long(0x04034b50), ...common, ...label]);
    const entry = [...long(0x02014b50), ...words(20), ...common, ...words(0, 0, 0, 0, 0), ...long(offset), ...label];
    directory.push(Uint8Array.from(entry));
    parts.push(header, bytes);
    offset += header.length + bytes.length;
  }
  const length = directory.reduce((sum, entry) => sum + entry.length, 0);
  if (offset + length > LARGEST || files.length > 0xffff) throw new RangeError();
  const counts = words(0, 0, files.length, files.length);
  const end = [...long(0x06054b50), ...counts, ...long(length), ...long(offset), ...words(0)];
  return new Blob([...parts, ...directory, Uint8Array.from(end)], { type: "application/zip" });
}
