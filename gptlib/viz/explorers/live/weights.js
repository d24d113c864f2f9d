// Opens a packed model: what gptlib.viz.explorers.living.pack_model makes, once it is no longer zipped.
// Python puts PAGE_KNOWS before this: the fields of a config that gpt.js computes; where one has a list, its values.

// Gives { gpt, tokenizer, name }. Throws an Error whose message is a sentence where the page cannot run the model.
async function openModel(block) {
  const { name, config, tokenizer, weights } = readPacked(block);
  checkConfig(config);
  return { gpt: new GPT(config, readSafetensors(weights)), tokenizer: openTokenizer(tokenizer), name };
}

// A block is the length of a JSON text in four bytes, the JSON, then all bytes that the JSON speaks of: there
// {"bytes": [start, stop]} stands for a DataView of those from start to stop, counted from the JSON's end.
function readPacked(block) {
  const length = new DataView(block).getUint32(0, true), text = new Uint8Array(block, 4, length);
  return JSON.parse(new TextDecoder().decode(text), (key, value) =>
    Array.isArray(value?.bytes) && Object.keys(value).length === 1
      ? new DataView(block, 4 + length + value.bytes[0], value.bytes[1] - value.bytes[0]) : value);
}

function checkConfig(config) {
  for (const [field, value] of Object.entries(config))
    if (!(field in PAGE_KNOWS) || PAGE_KNOWS[field]?.includes(value) === false)
      throw Error(`This page cannot compute ${field} = ${JSON.stringify(value)}, which is in the model's config.`);
}

// The tensors of a safetensors file as Float32Arrays, by name, each flat with its rows one after the other.
// One in 8 bits, I8, has beside it "NAME.scales": a number for each row, by which the row's whole numbers are multiplied.
function readSafetensors(view) {
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + 8, length)));
  const tensors = {}, array = roomFor(Object.values(header).map(({ shape }) => shape));
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    const [start, stop] = data_offsets.map((offset) => view.byteOffset + 8 + length + offset);
    tensors[name] = array(shape.reduce((a, b) => a * b, 1));
    readNumbers(tensors[name], view.buffer.slice(start, stop), dtype, name);
  }
  for (const name in tensors) if (name.endsWith(".scales")) {
    rescale(tensors[name.slice(0, -".scales".length)], tensors[name]);
    delete tensors[name];
  }
  return tensors;
}

function readNumbers(numbers, bytes, dtype, name) {
  if (dtype === "F32") numbers.set(new Float32Array(bytes));
  else if (dtype === "F16") readHalves(numbers, new Uint16Array(bytes));
  else if (dtype === "I8") numbers.set(new Int8Array(bytes));
  else throw Error(`The model's ${name} is in ${dtype}; this page reads F32, F16 and I8.`);
}

// A half has a sign bit, 5 of an exponent and 10 of a fraction. Moved to where a float has them they are its number but
// for the exponent, which counts from -15 in the one and from -127 in the other.
function readHalves(numbers, halves) {
  const float = new Float32Array(1), bits = new Uint32Array(float.buffer);
  for (let i = 0; i < halves.length; i++) {
    bits[0] = ((halves[i] & 0x8000) << 16) | ((halves[i] & 0x7fff) << 13);
    numbers[i] = float[0] * 2 ** 112;
  }
}

// The rows of a matrix, each times its scale.
function rescale(matrix, scales) {
  const width = matrix.length / scales.length;
  for (let i = 0; i < matrix.length; i++) matrix[i] *= scales[Math.floor(i / width)];
}
