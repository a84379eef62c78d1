"use strict";
// Elements, and numbers as text. Text goes in by textContent and styles by properties: names may hold anything, and the
// page's policy forbids inline attributes.
const build = (() => {
  const at = (id) => document.getElementById(id);
  function el(tag, properties, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }
  const fill = (id, ...children) => at(id).replaceChildren(...children);
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const signed = (x, digits, plus = "+") => {
    const text = Math.abs(x).toFixed(digits);
    return (Number(text) === 0 ? "" : x < 0 ? "−" : plus) + text;
  };
  const percent = (p) =>
    p > 0.995 ? ">\u00a099\u00a0%" : p < 0.005 ? "<\u00a01\u00a0%" : `${Math.round(100 * p)}\u00a0%`;
  const seconds = (t) => `${t.toFixed(2)}\u00a0s`;

  const digitsFor = (scale) => Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(scale))));

  // Rounded each on its own, rows and sum disagree in the last digit. Rounding up those with the largest remainders
  // until they add up changes no row by a whole unit.
  function printed(values, total, digits) {
    const unit = 10 ** digits;
    const whole = values.map((value) => Math.floor(value * unit));
    const order = values.map((_, i) => i).sort((a, b) => values[b] * unit - whole[b] - (values[a] * unit - whole[a]));
    const missing = Math.round(total * unit) - whole.reduce((sum, value) => sum + value, 0);
    for (let k = 0; k < Math.abs(missing); k++) {
      whole[missing > 0 ? order[k % order.length] : order[order.length - 1 - (k % order.length)]] += Math.sign(missing);
    }
    return whole.map((value) => value / unit);
  }

  const ADDS = ["What each place adds", "What each place adds to the score, for fake or for real. With what the network starts from, all places add up to it."];
  const PLAIN = {
    Contribution: ADDS,
    ClipContribution: ADDS,
    EnsembleContribution: ADDS,
    Attention: ["Where the network looks", "How much the network looks at each place. It does not say whether that speaks for fake or for real."],
    NodeEvidence: ["What each place would say alone", "What each place would say if the network looked at all places alike."],
    PredictedMask: ["The detector's own mask", "Where the detector takes the picture to be altered."],
  };
  const titleOf = (method) => (PLAIN[method] || [method])[0]; // of others the name stands
  const mapWords = ({ name, about }) => (PLAIN[name] || ["", about])[1];
  const words = (unit) => (unit === "logit" ? "log-odds" : unit);

  return { at, el, fill, plural, signed, percent, seconds, digitsFor, printed, titleOf, mapWords, words };
})();
