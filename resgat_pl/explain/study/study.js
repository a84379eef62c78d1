"use strict";
// One participant's page: consent, the trials one after the other, and the answers as a file. Nothing is sent or stored.
(() => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const rows = [["study", "participant", "trial", "item", "condition", "answer", "confidence", "seconds"]];
  let trial = 0;
  let shownAt = 0;

  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`);
  const picture = (src, alt) => Object.assign(new Image(), { src, alt });

  function show() {
    const { face, map, legend, words } = data.trials[trial];
    at("progress").textContent = `Picture ${trial + 1} of ${data.trials.length}`;
    at("pictures").replaceChildren(
      picture(face, "The face to judge"),
      ...(map ? [picture(map, "The same face with the map of a detector")] : []),
    );
    at("legend").textContent = legend || "";
    at("words").textContent = words || "";
    document.querySelectorAll("input[type=radio]").forEach((input) => (input.checked = false));
    at("next").disabled = true;
    shownAt = performance.now();
    scrollTo(0, 0);
  }

  function finish() {
    const csv = `${rows.map((row) => row.join(",")).join("\n")}\n`;
    at("trial").hidden = true;
    at("end").hidden = false;
    at("csv").value = csv;
    Object.assign(at("save"), {
      href: `data:text/csv;charset=utf-8,${encodeURIComponent(csv)}`,
      download: `${data.study}_${data.participant}.csv`,
    });
  }

  at("consent").textContent = data.consent;
  at("agree").addEventListener("input", () => (at("begin").disabled = !at("agree").checked));
  at("begin").addEventListener("click", () => {
    at("start").hidden = true;
    at("trial").hidden = false;
    show();
  });
  document
    .querySelectorAll("input[type=radio]")
    .forEach((input) =>
      input.addEventListener("input", () => (at("next").disabled = !(chosen("answer") && chosen("confidence")))),
    );
  at("next").addEventListener("click", () => {
    const { item, condition } = data.trials[trial];
    const seconds = ((performance.now() - shownAt) / 1000).toFixed(2);
    rows.push([
      ...[data.study, data.participant, trial + 1, item, condition],
      ...[chosen("answer").value, chosen("confidence").value, seconds],
    ]);
    trial += 1;
    if (trial < data.trials.length) show();
    else finish();
  });
})();
