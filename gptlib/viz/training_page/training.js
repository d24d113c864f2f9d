// A run of training: batches of documents, steps, and looks at what has been learned.

// Documents from one row of ids, in which the end token 0 stands before, between and after them. Each begins with the
// 0 before it; the 0 after it is its last target.
function splitDocuments(stream) {
  const found = [];
  for (let start = 0; start + 1 < stream.length;) {
    const end = stream.indexOf(0, start + 1);
    found.push({ inputs: stream.subarray(start, end), targets: stream.subarray(start + 1, end + 1) });
    start = end;
  }
  return found;
}

// Of documents, the targets one after the other as the network gives its surprises.
const joined = (documents) => documents.flatMap(({ targets }) => [...targets]);

class Training {
  constructor({ config, training, held_out, names, shown }, { seed, batch, learning_rate }) {
    Object.assign(this, { config, names, shown: names[shown], seed, batch, learning_rate });
    Object.assign(this, { step: 0, tokens: 0, read: 0, order: [] }); // read: how many documents
    this.documents = splitDocuments(training);
    this.heldOut = splitDocuments(held_out);
    this.dice = new Dice(seed);
    this.network = new Network(config);
    this.network.draw(this.dice);
    this.optimizer = new AdamW(this.network, config);
  }

  // The next documents: all in random order, then all again in another.
  nextBatch() {
    if (this.order.length < this.batch) this.order = [...this.dice.shuffled(this.documents.length)];
    return this.order.splice(-this.batch).map((i) => this.documents[i]);
  }

  // One step of AdamW on the mean surprise of a batch, which it returns. The first ten steps go less far.
  learn(documents = this.nextBatch()) {
    const targets = joined(documents), { network } = this;
    network.forward(documents.map(({ inputs }) => inputs));
    const surprises = network.surprises(targets);
    network.backward(targets);
    this.step += 1;
    this.tokens += targets.length;
    this.read += documents.length;
    this.optimizer.step(this.learning_rate * Math.min(1, this.step / 10));
    return surprises.reduce((sum, surprise) => sum + surprise, 0) / targets.length;
  }

  // The mean surprise over all held-out documents, some at a time.
  heldOutLoss() {
    let sum = 0, count = 0;
    for (let i = 0; i < this.heldOut.length; i += 16) {
      const some = this.heldOut.slice(i, i + 16);
      this.network.forward(some.map(({ inputs }) => inputs));
      for (const surprise of this.network.surprises(joined(some))) { sum += surprise; count += 1; }
    }
    return sum / count;
  }

  // What the network expects where a name is certain to come: next-token probabilities for each place. With
  // `exchanged`, another name was written for it all along.
  expected(places, exchanged = false) {
    const sequences = places.map(({ document, row, name, other }) =>
      this.heldOut[document].inputs.slice(0, row + 1).map((token) => (exchanged && token === name ? other : token)));
    this.network.forward(sequences);
    return this.network.sequences.map(({ start, length }) => this.network.score(start + length - 1));
  }

  // Over all those places, the mean probability of the name; of the other name where that was written for it; and
  // there of the first name, of which nothing is left.
  copying() {
    const mean = (probabilities, key) =>
      probabilities.reduce((sum, p, i) => sum + p[this.names[i][key]], 0) / this.names.length;
    const name = mean(this.expected(this.names), "name");
    const exchanged = this.expected(this.names, true);
    return { name, other: mean(exchanged, "other"), gone: mean(exchanged, "name") };
  }

  // One of those places: the likeliest next tokens and the right one, with the name that is told and with the other
  // one; and how every head reads the whole document, its triangles of attention weights as bytes.
  example() {
    const { network, shown } = this;
    const likeliest = (exchanged, right) => {
      const [p] = this.expected([shown], exchanged), order = [...p.keys()].sort((a, b) => p[b] - p[a]);
      const five = order.indexOf(right) < 5 ? order.slice(0, 5) : [...order.slice(0, 4), right];
      return five.map((token) => ({ token, p: p[token] }));
    };
    const bars = [likeliest(false, shown.name), likeliest(true, shown.other)], bytes = [];
    network.forward([this.heldOut[shown.document].inputs]);
    const size = network.N;
    for (const { attention } of network.layers)
      for (let head = 0; head < this.config.n_heads; head++)
        for (let query = 0; query < size; query++)
          for (let key = 0; key <= query; key++)
            bytes.push(Math.round(255 * attention[(head * size + query) * size + key]));
    return { bars, attention: Uint8Array.from(bytes) };
  }

  // A document of the network's own, token by token; the same seed throws the same dice at every step.
  write(longest = 48) {
    const dice = new Dice(this.seed), tokens = [0];
    while (tokens.length <= longest) {
      this.network.forward([tokens]);
      const next = dice.draw(this.network.score(tokens.length - 1));
      if (next === 0) break;
      tokens.push(next);
    }
    return tokens.slice(1);
  }
}
