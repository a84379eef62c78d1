"use strict";
// Strength of the evidence: likelihood ratio, and error rates for files like this one.
const strength = (() => {
  const { at, el, fill, percent } = build;

  const rate = (wrong, of, three, clips) => {
    if (!three) return "";
    const few = clips < of ? `, ${clips} independent clips` : "";
    return `${wrong} of ${of}: ${percent(three[0])} (${percent(three[1])} to ${percent(three[2])}${few})`;
  };

  function show(doc) {
    const found = doc.strength;
    if (!found) return;
    at("strength").hidden = false;
    at("likelihood").textContent = found.statement;
    at("rates-source").textContent = found.source;
    const head = ["Videos of the test", "Genuine called fake", "Fakes missed"];
    fill(
      "rates",
      el("caption", { className: "unseen" }, "Error rates of the checkpoint's own test, with 95 % intervals"),
      el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
      el(
        "tbody",
        {},
        ...found.rates.map((row) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, row.stratum === "all" ? "all" : `${row.stratum}: ${row.value}`),
            el("td", {}, rate(row.false_alarms, row.real, row.fpr, row.real_clips)),
            el("td", {}, rate(row.missed, row.fake, row.fnr, row.fake_clips)),
          ),
        ),
      ),
    );
    at("rates").hidden = !found.rates.length;
    fill("not-tested", ...found.not_tested.map((text) => el("li", {}, text)));
  }

  return { show };
})();
