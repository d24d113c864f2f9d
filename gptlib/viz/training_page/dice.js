// Random numbers that are the same for the same seed: mulberry32, 32 bits of state, plenty for a page.
class Dice {
  constructor(seed) { this.state = seed >>> 0; }

  // From 0 up to, not including, 1.
  uniform() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  // Standard normal (Box and Muller 1958).
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  // An index, drawn by its probability.
  draw(probabilities) {
    let left = this.uniform();
    for (let i = 0; i < probabilities.length; i++) if ((left -= probabilities[i]) < 0) return i;
    return probabilities.length - 1;
  }

  // The numbers below n in random order (Fisher and Yates).
  shuffled(n) {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
