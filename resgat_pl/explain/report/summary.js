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
    at("verdict").className = `card ${doc.verdict}`;
    at("file").textContent = doc.file;
    const frames = doc.kind === "video" ? `${plural(doc.frames_sampled, "frame")} of ${doc.frames_total} examined` : "";
    at("about-file").textContent = [
      doc.kind === "video" ? "Video" : "Image",
      `${doc.size[0]} × ${doc.size[1]} pixels`,
      frames,
    ]
      .filter(Boolean)
      .join(" · ");
    const { trained_on: trained, recordings } = doc.checkpoint;
    fill("notes", ...doc.notes.map((note) => el("li", {}, note)));
    at("trained").textContent = trained;
    at("versions").textContent = listed(doc.versions).join(" · ");
    if (p === null) {
      at("verdict-title").textContent = "No face found";
      at("verdict-text").textContent = "Without a face there is nothing to judge: this says neither real nor fake.";
      at("gauge").hidden = true;
      return;
    }
    const leaning = decision.leaning || doc.verdict;
    const side = leaning === "fake" ? "above" : p < decision.limit ? "below" : "not above";
    const agree = p > 0.5 === (leaning === "fake"); // a threshold other than 0.5 may turn it
    at("verdict-title").textContent =
      doc.verdict === "inconclusive"
        ? `Inconclusive, leaning ${leaning}`
        : decision.borderline
          ? `Borderline, leaning ${leaning}`
          : agree
            ? `Likely ${leaning}`
            : `Classed as ${leaning}`;
    const range = interval
      ? `95 % interval ${percent(interval[0])} to ${percent(interval[1])}`
      : doc.kind === "image"
        ? "one picture, so no interval"
        : `fewer than ten ${doc.checkpoint.net.init_args?.clip_frames ? "clips" : "frames"}, so no interval`;
    const [shown, limit] = apart(p, decision.limit);
    const whose = decision.chosen ? "" : ", a default";
    at("verdict-text").textContent =
      `The probability that this ${doc.kind} is fake is ${shown} (${range}), ${side} the threshold of ${limit}${whose}.` +
      (decision.borderline ? " The threshold lies among the scores that other frames would give." : "") +
      (doc.faces_found > doc.tracks.length
        ? ` Of ${doc.faces_found} faces that were seen, ${doc.tracks.length} ${doc.tracks.length === 1 ? "was" : "were"} judged.`
        : "");
    const calibrated = doc.calibration.temperature !== null;
    const [judged, found] = [doc.tracks.length, doc.faces_found];
    const fewer = found > judged; // null is not
    fill(
      "chips",
      el("li", { className: calibrated ? "" : "warn" }, calibrated ? "Calibrated" : "Not calibrated"),
      el("li", { className: fewer ? "warn" : "" }, fewer ? `${judged} of ${found} faces judged` : plural(judged, "face")),
      ...(recordings
        ? []
        : [el("li", { className: "warn" }, recordings === false ? "Not trained on recordings" : "Training data unknown")]),
    );
    place("gauge-mark", p);
    at("gauge-interval").hidden = !interval;
    if (interval) place("gauge-interval", ...interval);
    place("gauge-threshold", decision.limit);
    at("gauge").setAttribute("aria-label", `Probability of fake ${percent(p)}, ${range}`);
    at("gauge-key").textContent = [
      "Bar: probability",
      interval ? "band: 95 % interval over the frames" : "",
      "dotted: threshold",
    ]
      .filter(Boolean)
      .join(" · ");
  }

  // Two probabilities in percent, with as many decimal places as it takes to see which is greater.
  function apart(value, limit) {
    if (percent(value) !== percent(limit) || value === limit) return [percent(value), percent(limit)];
    for (let digits = 1; digits < 16; digits++) {
      const texts = [value, limit].map((p) => `${(100 * p).toFixed(digits)}\u00a0%`);
      if (texts[0] !== texts[1]) return texts;
    }
    return [value, limit].map((p) => `${(100 * p).toPrecision(17)}\u00a0%`);
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

  function fine(doc) {
    original(doc);
    claims(doc.claims);
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
      ["Threshold of the score", `${decision.threshold.toPrecision(3)}; ${decision.source}`],
      [
        "Score",
        decision.score === null
          ? ""
          : `${decision.score.toFixed(3)}, ` +
            (doc.kind === "image" ? "" : "the mean over frames, ") +
            (doc.tracks.length > 1
              ? decision.join === "noisy_or"
                ? "all faces joined by noisy-or, "
                : "the highest of all faces, "
              : "") +
            "before calibration",
      ],
      ["Training", checkpoint.trained_on],
      ["Unknown, assumed", checkpoint.assumed.join(", ")],
      ["Time", `${doc.seconds.toFixed(1)} s in all`],
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
