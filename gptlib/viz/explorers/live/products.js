// Matrix products four numbers at a time, which JavaScript alone cannot do: a small program of WebAssembly's, written in
// its own words and put together here. Where a page's policy forbids that, gpt.js takes one number at a time.

// Four rows of w, which lie `bytes` apart, with one of x after the other, then the next four: into each row of out, n long.
const PRODUCTS = `
  local.get w  local.get n  local.get bytes  i32.mul  i32.add  local.set end_of_w
  loop
    local.get x  local.set at_x
    local.get out  local.set to
    local.get out  local.get rows  local.get n  i32.mul  i32.const 4  i32.mul  i32.add  local.set end_of_out
    loop
      local.get w  local.set at_w
      local.get at_x  local.get bytes  i32.add  local.set end_of_x
      zero  local.tee a  local.tee b  local.tee c  local.set d
      loop
        local.get at_x  v128.load 2 0  local.set four
        local.get a  local.get at_w  v128.load 2 0  local.get four  f32x4.mul  f32x4.add  local.set a
        local.get at_w  local.get bytes  i32.add  local.set below
        local.get b  local.get below  v128.load 2 0  local.get four  f32x4.mul  f32x4.add  local.set b
        local.get below  local.get bytes  i32.add  local.set below
        local.get c  local.get below  v128.load 2 0  local.get four  f32x4.mul  f32x4.add  local.set c
        local.get below  local.get bytes  i32.add  local.set below
        local.get d  local.get below  v128.load 2 0  local.get four  f32x4.mul  f32x4.add  local.set d
        local.get at_w  i32.const 16  i32.add  local.set at_w
        local.get at_x  i32.const 16  i32.add  local.tee at_x  local.get end_of_x  i32.lt_u  br_if 0
      end
      local.get to  sum:a  f32.store 2 0
      local.get to  sum:b  f32.store 2 4
      local.get to  sum:c  f32.store 2 8
      local.get to  sum:d  f32.store 2 12
      local.get to  local.get n  i32.const 4  i32.mul  i32.add  local.tee to  local.get end_of_out  i32.lt_u  br_if 0
    end
    local.get out  i32.const 16  i32.add  local.set out
    local.get w  local.get bytes  i32.const 4  i32.mul  i32.add  local.tee w  local.get end_of_w  i32.lt_u  br_if 0
  end`;
const PARAMETERS = ["x", "w", "out", "rows", "bytes", "n"];
const INTEGERS = ["end_of_w", "end_of_x", "end_of_out", "at_x", "at_w", "below", "to"], FOURS = ["a", "b", "c", "d", "four"];

// Of each word the bytes that stand for it.
const WORDS = {
  "loop": [0x03, 0x40], "end": [0x0b], "br_if": [0x0d], "local.get": [0x20], "local.set": [0x21], "local.tee": [0x22],
  "i32.const": [0x41], "i32.add": [0x6a], "i32.mul": [0x6c], "i32.lt_u": [0x49], "f32.add": [0x92], "f32.store": [0x38],
  "v128.load": [0xfd, 0x00], "f32x4.extract": [0xfd, 0x1f], "f32x4.add": [0xfd, 0xe4, 0x01], "f32x4.mul": [0xfd, 0xe6, 0x01],
  "zero": [0xfd, 0x0c, ...Array(16).fill(0)],
};
const sumOf = (four) => `local.get ${four} f32x4.extract 0 local.get ${four} f32x4.extract 1 f32.add
  local.get ${four} f32x4.extract 2 f32.add local.get ${four} f32x4.extract 3 f32.add`;

function assembled(program) {
  const names = [...PARAMETERS, ...INTEGERS, ...FOURS], [i32, v128] = [0x7f, 0x7b];
  const words = program.replace(/sum:(\w)/g, (_, four) => sumOf(four)).trim().split(/\s+/);
  const code = words.flatMap((word) => WORDS[word] ?? [names.includes(word) ? names.indexOf(word) : Number(word)]);
  const length = (bytes) => [(bytes.length & 127) | 128, bytes.length >> 7, ...bytes];
  const section = (id, ...bytes) => [id, ...length(bytes)], text = (letter) => [1, letter.charCodeAt(0)];
  const body = [2, INTEGERS.length, i32, FOURS.length, v128, ...code, ...WORDS.end];
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // "\0asm", version 1
    ...section(1, 1, 0x60, PARAMETERS.length, ...PARAMETERS.map(() => i32), 0), // one type: so many i32 in, nothing out
    ...section(2, 1, ...text("m"), ...text("m"), 2, 0, 0), // a memory comes from outside
    ...section(3, 1, 0), // one function, of that type
    ...section(7, 1, ...text("f"), 0, 0), // which is called f
    ...section(10, 1, ...length(body)),
  ]);
}

const ROWS = 32; // of x that are multiplied at once
const programs = new WeakMap(); // by the memory that holds a model's weights

// Gives arrays for weights of these shapes in a memory that the program reads; without WebAssembly any arrays.
function roomFor(shapes) {
  const fours = (length) => 4 * Math.ceil(length / 4); // each array begins where four numbers can be read at once
  const [tallest, widest] = [0, 1].map((side) => fours(Math.max(...shapes.map((shape) => shape[side] ?? 0))));
  const read = shapes.reduce((sum, shape) => sum + fours(shape.reduce((a, b) => a * b, 1)), 0); // behind all weights
  const written = read + ROWS * widest;
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * (written + ROWS * tallest)) / 65536) });
    const { f } = new WebAssembly.Instance(new WebAssembly.Module(assembled(PRODUCTS)), { m: { m: memory } }).exports;
    programs.set(memory.buffer, { multiply: f, read, written, numbers: new Float32Array(memory.buffer) });
    let next = 0;
    return (length) => {
      const array = new Float32Array(memory.buffer, 4 * next, length);
      next += fours(length);
      return array;
    };
  } catch { // no WebAssembly, or none allowed
    return (length) => new Float32Array(length);
  }
}

// Write the products of rows of x with the first rows of a weight (n, width) to out (rows, n). Gives how many of the n
// are done: as many fours as there are, or none where the weight is not in such a memory or its rows are not of fours.
function multiplyFours(out, x, rows, weight, n, width) {
  const program = programs.get(weight.buffer), done = n - (n % 4);
  if (!program || width % 4) return 0;
  const { multiply, numbers, read, written } = program;
  for (let first = 0; first < rows && done; first += ROWS) {
    const count = Math.min(ROWS, rows - first);
    numbers.set(x.subarray(first * width, (first + count) * width), read);
    multiply(4 * read, weight.byteOffset, 4 * written, count, 4 * width, done);
    for (let row = 0; row < count; row++)
      out.set(numbers.subarray(written + row * done, written + (row + 1) * done), (first + row) * n);
  }
  return done;
}
