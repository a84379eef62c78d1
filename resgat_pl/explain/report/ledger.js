"use strict";
// The way from the sum of a map to the score, as rows that add up: sum, averaging, calibration.
const ledger = (() => {
  const { at, el, signed, percent } = build;
  const logOdds = (score) => Math.log(score / (1 - score));
  const rounded = (value) => Math.round(value * 100) / 100;

  // Scores of frames are averaged, while maps are averaged as log-odds, which alone add up: the difference is a row.
  function steps(face, frame, temperature) {
    const one = frame ?? (face.frames.length === 1 ? face.frames[0] : null);
    const total = one ? one.logit : logOdds(face.score);
    const rows = [["Sum of the map", signed((one ?? face).logit, 2)]];
    if (!one) {
      const averaging = rounded(total) - rounded(face.logit);
      rows.push([`Averaging the scores of ${face.frames.length} frames, not their log-odds`, signed(averaging, 2)]);
      rows.push([`Log-odds of the mean score, ${face.score.toFixed(3)}`, signed(total, 2)]);
    }
    if (temperature !== null) {
      const name = `Divided by ${temperature.toPrecision(3)}, the temperature of the calibration`;
      rows.push([name, signed(total / temperature, 2)]);
    }
    rows.push(["As a score", percent((one ?? face).probability)]);
    return rows;
  }

  function show(doc, face, frame, adds) {
    at("ledger").hidden = !adds || !Number.isFinite(logOdds(face.score));
    if (at("ledger").hidden) return;
    const rows = steps(face, frame, doc.calibration.temperature).map(([name, value]) =>
      el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)),
    );
    at("ledger").tBodies[0].replaceChildren(...rows);
  }

  return { show };
})();
