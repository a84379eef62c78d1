"use strict";
// The reader's choices, and what follows from them. `draw` makes the pictures and knows nothing of the page.
(() => {
  const { at, el, fill, signed, percent, seconds, digitsFor, printed, titleOf, mapWords, words } = build;
  const doc = JSON.parse(at("data").textContent);
  const state = { track: 0, frame: -1, method: 0 }; // frame -1 is the mean of all frames
  const TOWARDS = { fake: "towards fake", real: "towards real" };

  const track = () => doc.tracks[state.track];
  const method = () => doc.methods[state.method];
  const output = () => (method().name.startsWith("Why ") ? method().name.slice(4) : null); // one other than fake
  const towards = () =>
    output() === null ? TOWARDS : { fake: `towards ${output()}`, real: `away from ${output()}` };
  const isMean = () => state.frame < 0;
  const shown = () => (isMean() ? track() : track().frames[state.frame]);
  const picture = () => track().frames[isMean() ? track().frames.length >> 1 : state.frame];
  const even = (count) => Array.from({ length: count }, (_, i) => (i + 0.5) / count); // as earlier versions drew nodes
  const centres = doc.centres || { rows: even(doc.grid[0]), columns: even(doc.grid[1]) };
  const map = () => shown().maps[method().name];

  // Scales of strip and table are as fixed as the maps': the largest value of the method in the whole document.
  const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const everyMap = ({ name }) => doc.tracks.flatMap((face) => face.frames.map((frame) => frame.maps[name]));
  const regionScale = doc.methods.map((m) => largest(everyMap(m).flatMap(({ regions }) => regions)) || 1);
  const barScale = doc.methods.map((m, i) =>
    Math.max(regionScale[i], largest(everyMap(m).map(({ bias }) => bias || 0))),
  );
  function pickers() {
    const faces = doc.tracks.map((face, i) =>
      el(
        "button",
        { type: "button" },
        el("img", { alt: "", src: `data:image/jpeg;base64,${face.frames[face.frames.length >> 1].jpeg}` }),
        `Face ${face.number}, score ${percent(face.probability)}` +
          (doc.decision.join === "noisy_or" ? `, share ${face.share.toFixed(2)}` : ""),
      ),
    );
    faces.forEach((button, i) =>
      button.addEventListener("click", () => {
        Object.assign(state, { track: i, frame: doc.tracks[i].frames.length > 1 ? -1 : 0 });
        changed(true);
      }),
    );
    fill("face-picker", ...faces);
    at("face-picker").hidden = faces.length < 2;
    const methods = doc.methods.map(({ name }) => el("button", { type: "button", title: name }, titleOf(name)));
    methods.forEach((button, i) =>
      button.addEventListener("click", () => {
        state.method = i;
        changed(true);
      }),
    );
    fill("method-picker", ...methods);
  }

  const press = (id, chosen) =>
    [...at(id).children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === chosen)));

  function go(frame) {
    state.frame = Math.max(0, Math.min(track().frames.length - 1, frame));
    changed(false);
  }

  // What differs between faces and methods is drawn again only when one of them has changed.
  function changed(all) {
    if (all) {
      press("face-picker", state.track);
      press("method-picker", state.method);
      at("method-about").textContent = method().about;
      at("map-words").textContent = mapWords(method());
      legend();
      certificate();
      members();
      evidence();
      at("time").hidden = track().frames.length < 2;
      plots();
    }
    cursor();
    table();
    face();
  }

  function certificate() {
    const found = track().certificate;
    const where = found && track().frames.length > 1 ? `In frame ${found.frame}, which speaks most for it: ` : "";
    at("certificate").textContent = found ? where + found.sentence : "";
    at("certificate").hidden = !found;
  }

  function members() {
    const { members: found, disagreement } = track();
    at("ensemble").hidden = !found || !found.length;
    if (at("ensemble").hidden) return;
    const cells = (texts) => texts.map((text) => el("td", {}, text));
    const head = ["Member", "weight", "temperature", "share of the mean logit"];
    fill(
      "members",
      el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
      el(
        "tbody",
        {},
        ...found.map((m) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, m.name),
            ...cells([m.weight.toFixed(3), m.temperature.toFixed(2), signed(m.share, 2)]),
          ),
        ),
      ),
    );
    at("disagreement").textContent = disagreement;
  }

  function evidence() {
    const { evidence_png: sheet, evidence_words: words } = track();
    at("evidence").hidden = !sheet;
    if (!sheet) return;
    Object.assign(at("evidence-sheet"), { src: `data:image/png;base64,${sheet}`, alt: words.join(" ") });
    fill("evidence-words", ...words.map((text) => el("li", {}, text)));
    at("evidence-caption").textContent = doc.evidence_caption;
  }

  function legend() {
    const { unit, scale } = method();
    const colours = draw.gradient(method());
    at("legend-bar").style.background = colours;
    const ends = method().signed ? [-scale, 0, scale] : [0, scale / 2, scale];
    const digits = digitsFor(scale);
    fill("legend-ticks", ...ends.map((v) => el("span", {}, method().signed ? signed(v, digits) : v.toFixed(digits))));
    fill(
      "legend-words",
      ...(method().signed
        ? [
            el("span", { className: "real" }, `− ${towards().real}`),
            el("span", {}, words(unit)),
            el("span", { className: "fake" }, `${towards().fake} +`),
          ]
        : [el("span", {}, "low"), el("span", {}, `${words(unit)}, speaks for neither class`), el("span", {}, "high")]),
    );
    const end = regionScale[state.method];
    at("strip-low").textContent = method().signed ? `striped: ${output() === null ? "real" : "against"} ${signed(-end, digitsFor(end))}` : "0";
    at("strip-high").textContent = method().signed
      ? `${signed(end, digitsFor(end))} ${output() ?? "fake"}`
      : end.toFixed(digitsFor(end));
    at("strip-bar").style.background = colours;
  }

  function plots() {
    if (at("time").hidden) return;
    const { frames } = track();
    const layout = draw.columns(frames, at("plots").clientWidth, 86);
    fill("curve", draw.curve(frames, layout));
    const probabilities = frames.map((frame) => frame.probability);
    at("curve").setAttribute(
      "aria-label",
      `Score over ${frames.length} frames, from ` +
        `${percent(Math.min(...probabilities))} to ${percent(Math.max(...probabilities))}`,
    );
    fill("strip-names", ...doc.regions.map((region) => el("li", {}, region)));
    draw.strip(
      at("strip"),
      frames.map((frame) => frame.maps[method().name].regions),
      layout,
      method(),
      regionScale[state.method],
    );
    at("strip").setAttribute("aria-label", "Regions of the face over time; the table has the numbers of one frame");
    at("scrub").max = frames.length - 1;
    at("mean").textContent = `Mean of ${frames.length} frames`;
    at("plots").layout = layout;
  }

  function cursor() {
    if (at("time").hidden) return;
    const { layout } = at("plots");
    at("mean").setAttribute("aria-pressed", String(isMean()));
    at("cursor").hidden = isMean();
    at("curve")
      .querySelectorAll("circle.now")
      .forEach((dot) => dot.remove());
    at("scrub").setAttribute("aria-valuetext", isMean() ? "mean" : `${state.frame + 1} of ${track().frames.length}`);
    if (isMean()) return;
    const [left, right] = layout.spans[state.frame];
    Object.assign(at("cursor").style, { left: `${left - 1}px`, width: `${Math.max(3, right - left + 2)}px` });
    at("scrub").value = state.frame;
    at("curve").firstChild.append(draw.dot(layout, state.frame, track().frames[state.frame].probability, 5, "now"));
  }

  function describe() {
    const { frames } = track();
    const frame = shown();
    const which = isMean()
      ? `Mean of ${frames.length} frames`
      : frames.length > 1 || frame.time !== null
        ? `Frame ${state.frame + 1} of ${frames.length}${frame.time === null ? "" : ` at ${seconds(frame.time)}`}`
        : "The image";
    return `${which}: score ${percent(frame.probability)}`;
  }

  function table() {
    at("status").textContent = describe();
    const leaning = doc.verdict === "inconclusive" ? "The file is inconclusive; by the threshold alone: " : "";
    at("sentence").textContent = leaning + shown().sentence;
    const { regions, bias } = map();
    const { unit, signed: hasSign } = method();
    const logit = bias === null ? null : (map().logit ?? shown().logit);
    const within = regions.reduce((sum, value) => sum + value, 0);
    const rows = doc.regions.map((name, i) => [name, regions[i]]);
    if (logit !== null) rows.push(["Bias (without any node)", bias]);
    const gap = logit === null ? 0 : logit - bias - within;
    const digits = digitsFor(regionScale[state.method]);
    const means = unit === "probability" && !hasSign; // there is no sum
    // An exact method's gap is the rounding of its arithmetic; any other must be reported.
    const reported = !method().exact || Math.abs(gap) >= 0.5 * 10 ** -digits;
    if (logit !== null && reported) rows.push(["Not accounted for by this method", gap]);
    const plus = hasSign ? "+" : "";
    const total = logit === null ? within : logit;
    const given = rows.map(([, value]) => value);
    const values = means ? given : printed(given, total, digits);
    const most = regions.reduce((best, value, i) => (Math.abs(value) > Math.abs(regions[best]) ? i : best), 0);
    const line = (name, value, className, widest) => {
      const area = (track().areas || [])[doc.regions.indexOf(name)];
      const tone = !hasSign && unit !== "logit" ? "" : value > 0 ? "fake" : value < 0 ? "real" : "";
      const bar = el("div", { className: hasSign ? "bar" : "bar plain", title: tone && towards()[tone] });
      if (widest) bar.append(draw.bar(value / widest, method()));
      return el(
        "tr",
        { className },
        el("th", { scope: "row" }, name),
        el("td", { className: "area" }, area === undefined ? "" : percent(area)),
        el("td", {}, bar),
        el("td", { className: tone }, signed(value, digits, plus)),
      );
    };
    const widest = barScale[state.method];
    const [body, foot] = [at("regions").tBodies[0], at("regions").tFoot];
    body.replaceChildren(...regions.map((_, i) => line(rows[i][0], values[i], i === most ? "most" : "", widest)));
    foot.replaceChildren(
      ...rows.slice(regions.length).map(([name], k) => line(name, values[regions.length + k], "", widest)),
    );
    if (!means)
      foot.append(
        line(
          logit === null
            ? "Sum of the map"
            : `Sum = ${isMean() ? "mean " : ""}log-odds${output() === null ? "" : ` of ${output()}`}`,
          Math.round(total * 10 ** digits) / 10 ** digits,
          "total",
          0,
        ),
      );
    at("ends").textContent = !hasSign ? "" : output() === null ? "real ← → fake" : `− ← → + ${output()}`;
    at("unit").textContent = words(unit);
    ledger.show(doc, track(), isMean() ? null : shown(), logit !== null && output() === null);
    const unitOfRounding = (10 ** -digits).toFixed(digits);
    at("rounding").textContent =
      (means
        ? "The mean over the nodes of each region."
        : `Rounded to ${unitOfRounding} so that the rows add up: a row may be off by less than that.`) +
      (unit === "logit"
        ? ` Log-odds: positive speaks for ${output() ?? "fake"}, negative ${output() === null ? "for real" : "against it"}.`
        : hasSign
          ? " Not log-odds, so there is no sum to compare with."
          : " This method has no direction.") +
      (map().agreement == null
        ? ""
        : ` The methods that it joins agree by ${map().agreement.toFixed(2)} of 1 (Kendall's W); it is blank where they do not.`);
  }

  const pictures = new Map(); // the last few, decoded
  function decoded(frame) {
    if (!pictures.has(frame)) {
      const image = new Image();
      image.src = `data:image/jpeg;base64,${frame.jpeg}`;
      pictures.set(
        frame,
        image.decode().then(() => image),
      );
      if (pictures.size > 60) pictures.delete(pictures.keys().next().value);
    }
    return pictures.get(frame);
  }

  async function face() {
    const frame = picture();
    const { nodes } = map();
    const image = await decoded(frame);
    if (frame !== picture() || nodes !== map().nodes) return; // the reader has gone on
    const options = {
      opacity: at("opacity").value / 100,
      numbers: at("numbers").checked,
      smooth: at("smooth").checked,
      landmarks: at("points").checked ? frame.landmarks : [],
      caption: `${doc.checkpoint.recordings === false ? "Not valid for recordings" : "No proof"}: a detector's map`,
    };
    const note = draw.face(at("face"), image, nodes, centres, method(), options);
    const flat = nodes.flat();
    const top = flat.reduce((best, value, i) => (Math.abs(value) > Math.abs(flat[best]) ? i : best), 0);
    const strongest = cell(top % nodes[0].length, Math.floor(top / nodes[0].length));
    at("face").setAttribute("aria-label", `Face with the map: ${titleOf(method().name)}. Strongest: ${strongest}`);
    at("face").note =
      `${note}Strongest: ${strongest}.${isMean() ? " Mean of all frames, over the middle one." : ""}` +
      (frame.landmarks_found ? "" : " No landmarks were found here; regions are the average face's.");
    at("cell").textContent = at("face").note;
  }

  function cell(column, row) {
    const value = map().nodes[row][column];
    const direction = method().signed && value ? `, ${value > 0 ? towards().fake : towards().real}` : "";
    const number = signed(value, digitsFor(method().scale) + 1, method().signed ? "+" : "");
    return `row ${row + 1}, column ${column + 1}: ${number} ${words(method().unit)}${direction}`;
  }

  function listen() {
    let timer = 0;
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      at("play").textContent = "Play";
      at("play").setAttribute("aria-pressed", "false");
      at("status").setAttribute("aria-live", "polite");
    };
    const step = {
      ArrowLeft: () => go(state.frame - 1),
      ArrowRight: () => go(state.frame + 1),
      Home: () => go(0),
      End: () => go(Infinity),
    };
    document.addEventListener("keydown", (event) => {
      const typing = event.target.type === "range" || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
      if (typing || !step[event.key] || at("time").hidden) return;
      event.preventDefault();
      stop();
      step[event.key]();
    });
    at("scrub").addEventListener("input", () => {
      stop();
      go(Number(at("scrub").value));
    });
    at("previous").addEventListener("click", () => {
      stop();
      step.ArrowLeft();
    });
    at("next").addEventListener("click", () => {
      stop();
      step.ArrowRight();
    });
    at("mean").addEventListener("click", () => {
      stop();
      state.frame = -1;
      changed(false);
    });
    at("play").addEventListener("click", () => {
      if (timer) return stop();
      if (state.frame === track().frames.length - 1) state.frame = -1;
      at("play").textContent = "Pause";
      at("play").setAttribute("aria-pressed", "true");
      at("status").setAttribute("aria-live", "off"); // five sentences a second help nobody
      timer = setInterval(() => (state.frame === track().frames.length - 1 ? stop() : step.ArrowRight()), 200);
    });
    const point = (event) => {
      const x = event.clientX - at("plots").getBoundingClientRect().left;
      if (x >= 86) {
        stop();
        go(draw.nearest(at("plots").layout, x));
      }
    };
    at("plots").addEventListener("pointerdown", point);
    at("plots").addEventListener("pointermove", (event) => {
      if (event.buttons) point(event);
    });
    for (const id of ["opacity", "numbers", "smooth", "points"]) at(id).addEventListener("input", face);
    at("face").addEventListener("pointermove", (event) => {
      const box = at("face").getBoundingClientRect();
      const column = draw.cellAt(centres.columns, (event.clientX - box.left) / box.width);
      const row = draw.cellAt(centres.rows, (event.clientY - box.top) / (box.height - draw.CAPTION));
      at("cell").textContent = `Here: ${cell(column, row)}.`;
    });
    at("face").addEventListener("pointerleave", () => {
      at("cell").textContent = at("face").note;
    });
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth !== width) {
        width = innerWidth;
        changed(true);
      }
    });
  }

  summary.verdict(doc);
  summary.fine(doc);
  strength.show(doc);
  notes.listen(doc);
  at("sides").textContent = doc.first_page.sides;
  if (doc.tracks.length && doc.methods.length) {
    at("faces").hidden = false;
    state.frame = track().frames.length > 1 ? -1 : 0;
    pickers();
    listen();
    changed(true);
  }
})();
