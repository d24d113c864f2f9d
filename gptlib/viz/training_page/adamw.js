// AdamW (Loshchilov and Hutter 2019, algorithm 2), as torch does it: each parameter moves against the mean of its
// last gradients, divided by how large they have been; matrices also shrink a little, vectors do not.
class AdamW {
  constructor({ parameters, gradients, shapes }, { betas: [beta1, beta2], weight_decay }) {
    Object.assign(this, { parameters, gradients, beta1, beta2, steps: 0 });
    this.means = new Float32Array(parameters.length);
    this.squares = new Float32Array(parameters.length);
    this.decay = shapes.map(([, rows, columns]) => ({ count: rows * columns, weight_decay: rows > 1 ? weight_decay : 0 }));
  }

  step(learningRate) {
    const { parameters, gradients, means, squares, beta1, beta2 } = this;
    this.steps += 1;
    // Both averages start at 0; this makes up for it.
    const mean = 1 / (1 - beta1 ** this.steps), square = 1 / (1 - beta2 ** this.steps);
    let i = 0;
    for (const { count, weight_decay } of this.decay) {
      const kept = 1 - learningRate * weight_decay;
      for (const end = i + count; i < end; i++) {
        const slope = gradients[i];
        const m = means[i] = beta1 * means[i] + (1 - beta1) * slope;
        const v = squares[i] = beta2 * squares[i] + (1 - beta2) * slope * slope;
        parameters[i] = kept * parameters[i] - (learningRate * mean * m) / (Math.sqrt(square * v) + 1e-8);
      }
    }
  }
}
