"use strict";
// What is said once about a file: the verdict, and how it was computed.
const summary = (() => {
  const { at, el, fill, plural, percent } = build;

  // Names and values, without the names of groups.
  const listed = (values) =>
    Object.entries(values)
      .filter(([, value]) => value !== null && value !== "")
      .flatMap(([name, value]) => (typeof value === "object" ? listed(value) : `${name} ${value}`));

  function verdict(doc) {
    const { decision, probability: p, interval } = doc;
    at("verdict").className = `card ${doc.checkpoint.recordings ? doc.verdict : "doubtful"}`; // no colour of a class
    at("file").textContent = doc.file;
    const frames = doc.kind === "video" ? `${plural(doc.frames_sampled, "frame")} of ${doc.frames_total} examined` : "";
    at("about-file").textContent = [
      doc.kind === "video" ? "Video" : "Image",
      `${doc.size[0]} × ${doc.size[1]} pixels`,
      frames,
    ]
      .filter(Boolean)
      .join(" · ");
    const { recordings } = doc.checkpoint;
    const unbroken = (text) => text.replaceAll(" %", "\u00a0%");
    const { training, headline, what, where, how_sure: sure, limits, paragraph, against, no_proof: noProof } = doc.first_page;
    at("trained").textContent = training;
    at("trained").className = recordings ? "" : "warn";
    at("verdict-title").textContent = headline;
    at("verdict-text").textContent = unbroken(what);
    at("where").textContent = unbroken(where);
    at("against").hidden = !against;
    at("against-text").textContent = unbroken(against || "");
    fill("sure", ...sure.map((text) => el("li", {}, unbroken(text))));
    fill("notes", ...[...limits, ...doc.notes, noProof].map((note) => el("li", {}, unbroken(note))));
    at("plain").textContent = unbroken(paragraph);
    at("versions").textContent = listed(doc.versions).join(" · ");
    if (p === null) {
      for (const id of ["chosen", "quote"]) at(id).hidden = true;
      at("gauge").hidden = true;
      for (const id of ["where", "sure"]) at(id).parentElement.hidden = true;
      return;
    }
    const calibrated = doc.calibration.temperature !== null;
    const [judged, found] = [doc.tracks.length, doc.faces_found];
    const fewer = found > judged; // null is not
    fill(
      "chips",
      el("li", { className: calibrated ? "" : "warn" }, calibrated ? "Calibrated" : "Not calibrated"),
      el("li", { className: fewer ? "warn" : "" }, fewer ? `${judged} of ${found} faces judged` : plural(judged, "face")),
      ...(doc.strength && doc.strength.rates.length ? [] : [el("li", { className: "warn" }, "Error rate unknown")]),
      ...(decision.chosen ? [] : [el("li", { className: "warn" }, "Threshold is a default")]),
    );
    place("gauge-mark", p);
    at("gauge-interval").hidden = !interval;
    if (interval) place("gauge-interval", ...interval);
    place("gauge-threshold", decision.limit);
    at("gauge").setAttribute("aria-label", `Detector's score ${percent(p)}, threshold ${percent(decision.limit)}`);
    at("gauge-key").textContent = [
      "Bar: score",
      interval ? "band: other frames of this file, not the detector's errors" : "",
      "dotted: threshold",
    ]
      .filter(Boolean)
      .join(" · ");
  }

  function place(id, low, high) {
    at(id).style.left = `${100 * low}%`;
    if (high !== undefined) at(id).style.width = `${100 * (high - low)}%`;
  }

  function original(doc) {
    at("original").hidden = !doc.original;
    if (!doc.original) return;
    const { original: file, statement, faces } = doc.original;
    at("original-statement").textContent = `${file.name}, SHA-256 ${file.sha256}. ${statement}`;
    const shown = ({ png, sentence }) => [
      el("img", { src: `data:image/png;base64,${png}`, alt: sentence }),
      el("p", {}, sentence),
    ];
    fill("original-faces", ...faces.flatMap(shown));
  }

  function claims(said) {
    at("claims").hidden = !said;
    if (!said) return;
    at("credentials").textContent = said.credentials.sentence;
    const all = [...said.credentials.facts, ...said.metadata];
    fill("claims-facts", ...all.flatMap(({ name, value }) => [el("dt", {}, name), el("dd", {}, value)]));
  }

  const TERMS = [
    ["Score", "The detector's answer between 0 % (real) and 100 % (fake). It is a probability only where it is calibrated."],
    ["Calibrated", "Changed so that, of the validation files with a score of 80 %, about 80 % were fake."],
    ["Log-odds, logit", "Another scale for the score s: ln(s / (1 − s)). 0 is 50 %, +2 is 88 %, −2 is 12 %. On it parts add up."],
    ["Node", "One of the places into which the network divides the picture of the face. Each cell of a map is one."],
    ["Contribution", "What a node adds to the log-odds of fake; below 0 it speaks for real. All of them and the bias add up."],
    ["Bias", "The log-odds from which the detector starts, whatever the picture."],
    ["Attention", "The weight that the network gives a node. It says where it looks, not for what that speaks."],
    ["NodeAblation", "A map of what happens to the score when one node is left out: --methods NodeAblation."],
    ["Background", "Everything outside the face: hair, ears, neck, clothes, and what is behind the person."],
    ["Left, right", "Those of the picture as you see it, not the person's own."],
    ["Share of area", "Of the picture that the network saw, mean over the frames."],
  ];

  function fine(doc) {
    original(doc);
    claims(doc.claims);
    fill("terms", ...TERMS.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
    fill("caveats", ...doc.caveats.map((text) => el("li", {}, text)));
    const { checkpoint, custody, decision, calibration } = doc;
    const kind = (checkpoint.net.class_path || "").split(".").pop();
    const net = checkpoint.net.init_args || checkpoint.net;
    const facts = [
      ["File", custody ? `SHA-256 ${custody.input.sha256}, ${custody.input.bytes} bytes` : ""],
      ["Judged", custody ? `${custody.began} to ${custody.ended}\n${custody.command}` : ""],
      ["Checkpoint", `${checkpoint.name}\nSHA-256 ${checkpoint.fingerprint.slice(0, 16)}…`],
      [
        "Detector",
        `${[kind, net.encoder, net.attention].filter(Boolean).join(" ")}, ${doc.grid[0]} × ${doc.grid[1]} nodes` +
          (Array.isArray(net.encoder_stage) ? " and, above them, coarser ones" : ""),
      ],
      ["Calibration", calibration.statement],
      ["Threshold before calibration", `${decision.threshold.toPrecision(3)}; ${decision.source}`],
      [
        "Score before calibration",
        decision.score === null
          ? ""
          : `${decision.score.toFixed(3)}, ` +
            (doc.kind === "image" ? "" : "the mean over frames, ") +
            (doc.tracks.length > 1
              ? decision.join === "noisy_or"
                ? "all faces joined by noisy-or, "
                : "the highest of all faces, "
              : "") +
            (calibration.temperature === null ? "which is not calibrated" : `${percent(doc.probability)} after it`),
      ],
      ["Training", checkpoint.trained_on],
      ["Threshold and scale", checkpoint.validated_on],
      ["Unknown, assumed", checkpoint.assumed.join(", ")],
      ["Time", `${doc.seconds.toFixed(1)} s for finding faces, judging and explaining`],
      ["Seed", String(doc.seed)],
    ];
    fill(
      "facts",
      ...facts.filter(([, text]) => text).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]),
    );
    const head = ["Explainer", "forward", "backward", "graph", "ms a face"];
    fill(
      "cost",
      el("caption", { className: "unseen" }, "Cost of each explainer for each face"),
      el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
      el(
        "tbody",
        {},
        ...doc.methods.map((m) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, m.name, m.shared ? el("small", {}, "read off the scoring pass") : ""),
            ...[m.forward, m.backward, m.graph].map((n) => el("td", {}, String(Math.round(n * 100) / 100))),
            el("td", {}, m.milliseconds.toFixed(1)),
          ),
        ),
      ),
    );
  }

  return { verdict, fine };
})();
