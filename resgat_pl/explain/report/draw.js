"use strict";
// Pictures from numbers. Colours are the ends of ColorBrewer's RdBu (safe for colour-blind readers), the stronger the
// value the more opaque, so that zero shows the face itself. A value beyond the scale has the colour of its end.
const draw = (() => {
  const FAKE = [178, 24, 43],
    REAL = [33, 102, 172],
    PLAIN = [99, 40, 140];
  const CAPTION = 20; // px below the face
  const LABEL = "600 10px Inter, system-ui, sans-serif";
  const svg = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const strength = (value, scale, signed) => Math.min(1, Math.max(0, (signed ? Math.abs(value) : value) / scale));
  const hue = (value, signed) => (!signed ? PLAIN : value < 0 ? REAL : FAKE);
  const rgba = (rgb, alpha) => `rgba(${rgb.join(", ")}, ${alpha})`;

  function gradient({ signed }) {
    const low = signed ? `${rgba(REAL, 1)}, ${rgba(REAL, 0)} 50%, ${rgba(FAKE, 0)} 50%` : rgba(PLAIN, 0);
    return `linear-gradient(to right, ${low}, ${rgba(signed ? FAKE : PLAIN, 1)})`;
  }

  // Left and right edge of each frame in px. Frames sampled evenly touch; where the face was lost there is a hole.
  function columns(frames, width, gutter) {
    const times = frames.map((frame, i) => (frame.time === null ? i : frame.time));
    const steps = times
      .slice(1)
      .map((time, i) => time - times[i])
      .sort((a, b) => a - b);
    const step = steps[steps.length >> 1] || 1;
    const edge = (i, side) => {
      const next = times[i + side];
      return next !== undefined && Math.abs(next - times[i]) < 1.6 * step
        ? (times[i] + next) / 2
        : times[i] + (side * step) / 2;
    };
    const bounds = times.map((_, i) => [edge(i, -1), edge(i, 1)]);
    const first = bounds[0][0],
      last = bounds[bounds.length - 1][1];
    const x = (time) => gutter + ((time - first) / (last - first)) * (width - gutter);
    return { width, gutter, times, step, x, spans: bounds.map(([a, b]) => [x(a), x(b)]) };
  }

  function nearest({ spans }, x) {
    const distance = ([a, b]) => Math.max(a - x, x - b, 0);
    return spans.reduce((best, span, i) => (distance(span) < distance(spans[best]) ? i : best), 0);
  }

  const TOP = 12,
    TALL = 118;
  const y = (probability) => TOP + (1 - probability) * TALL;
  const dot = (layout, i, probability, radius, name) =>
    svg("circle", { cx: layout.x(layout.times[i]), cy: y(probability), r: radius, class: name });

  function curve(frames, layout) {
    const { width, gutter, times, step, x } = layout;
    const root = svg("svg", {
      viewBox: `0 0 ${width} ${TOP + TALL + 26}`,
      height: TOP + TALL + 26,
      "aria-hidden": "true",
    });
    for (const level of [0, 0.5, 1]) {
      root.append(svg("line", { x1: gutter, x2: width, y1: y(level), y2: y(level), class: "grid" }));
      root.append(svg("text", { x: gutter - 8, y: y(level) + 4, "text-anchor": "end" }, `${100 * level} %`));
    }
    const command = (i) => (i && times[i] - times[i - 1] < 1.6 * step ? "L" : "M");
    const path = frames.map((frame, i) => `${command(i)}${x(times[i]).toFixed(1)} ${y(frame.probability).toFixed(1)}`);
    root.append(svg("path", { d: path.join(""), class: "line" }));
    if ((width - gutter) / frames.length > 9)
      frames.forEach((frame, i) => root.append(dot(layout, i, frame.probability, 3, "frame")));
    const room = Math.max(1, Math.floor((width - gutter) / 80));
    const every = Math.ceil(frames.length / room);
    frames.forEach((frame, i) => {
      if (i % every) return;
      const label = frame.time === null ? `${i + 1}` : `${frame.time.toFixed(frame.time < 100 ? 2 : 0)} s`;
      if (x(times[i]) < width - 18)
        root.append(svg("text", { x: x(times[i]), y: TOP + TALL + 17, "text-anchor": "middle" }, label));
    });
    return root;
  }

  function sharp(canvas, width, height) {
    const ratio = Math.max(1, window.devicePixelRatio || 1);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
  }

  const ROW = 18; // px, the line height of the names beside it
  function strip(canvas, values, { spans, width, gutter }, { signed }, scale) {
    const context = sharp(canvas, width - gutter, ROW * values[0].length);
    values.forEach((column, i) => {
      const [left, right] = spans[i].map((edge) => edge - gutter);
      column.forEach((value, row) => {
        context.fillStyle = rgba(hue(value, signed), strength(value, scale, signed));
        const striped = signed && value < 0; // the sign without colour
        for (const [top, tall] of striped
          ? [
              [0, 4],
              [6, 5],
              [13, 4],
            ]
          : [[0, ROW - 1]]) {
          context.fillRect(left, row * ROW + top, right - left, tall);
        }
      });
    });
  }

  // Where decimals would not fit a cell, numbers are integers of at most three digits, in units of a power of ten.
  function cellText(side, { scale, signed }) {
    const mark = (value, text) => (Number(text) === 0 ? "" : value < 0 ? "−" : signed ? "+" : "") + text;
    if (side >= 40 && scale >= 0.1) return { note: "", text: (v) => mark(v, Math.abs(v).toFixed(2)) };
    const digits = Math.max(0, 2 - Math.floor(Math.log10(scale)));
    const text = (v) => mark(v, String(Math.round(Math.abs(v) * 10 ** digits)));
    return { note: `Numbers are in units of ${(10 ** -digits).toFixed(digits)}. `, text };
  }

  // Nodes need not lie in the middle of equal cells. A cell is what lies nearest to its node.
  const edges = (centres) => [0, ...centres.slice(1).map((centre, i) => (centre + centres[i]) / 2), 1];
  const cellAt = (centres, share) => edges(centres).filter((edge, i) => i && edge < 1 && share >= edge).length;

  // The map with each border repeated outside, so that it is level beyond the outermost nodes.
  function smoothMap(context, width, height, nodes, centres, colour) {
    const [rows, columns] = [nodes.length + 2, nodes[0].length + 2];
    const pixels = new ImageData(columns, rows);
    const inner = (i, count) => Math.max(0, Math.min(count - 1, i - 1));
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const value = nodes[inner(row, nodes.length)][inner(column, nodes[0].length)];
        pixels.data.set(colour(value), 4 * (row * columns + column));
      }
    const small = document.createElement("canvas");
    Object.assign(small, { width: columns, height: rows }).getContext("2d").putImageData(pixels, 0, 0);
    const place = (marks, side) => {
      const step = ((marks[marks.length - 1] - marks[0]) / (marks.length - 1)) * side;
      return [marks[0] * side - 1.5 * step, step * (marks.length + 2)];
    };
    const [[left, wide], [top, tall]] = [place(centres.columns, width), place(centres.rows, height)];
    context.imageSmoothingEnabled = true;
    context.drawImage(small, left, top, wide, tall);
  }

  // Where a map, linear between the centres and level beyond them, crosses a threshold: marching squares.
  const FINE = 96;
  function crossings(nodes, centres, threshold) {
    const place = (marks, share) => {
      const after = Math.min(marks.length - 1, Math.max(1, marks.findIndex((mark) => mark > share)));
      const [low, high] = [marks[after - 1], marks[after]];
      return [after - 1, Math.min(1, Math.max(0, (Math.min(share, marks[marks.length - 1]) - low) / (high - low)))];
    };
    const steps = Array.from({ length: FINE + 1 }, (_, i) => i / FINE);
    const [down, across] = [centres.rows, centres.columns].map((marks) =>
      steps.map((share) => (share >= marks[marks.length - 1] ? [marks.length - 2, 1] : place(marks, share))),
    );
    const between = (a, b, t) => a + (b - a) * t;
    const values = down.map(([row, v]) =>
      across.map(([column, u]) =>
        between(
          between(nodes[row][column], nodes[row][column + 1], u),
          between(nodes[row + 1][column], nodes[row + 1][column + 1], u),
          v,
        ),
      ),
    );
    const found = [];
    for (let row = 0; row < FINE; row++)
      for (let column = 0; column < FINE; column++) {
        const corners = [
          [column, row],
          [column + 1, row],
          [column + 1, row + 1],
          [column, row + 1],
        ];
        const points = [];
        corners.forEach(([x0, y0], i) => {
          const [x1, y1] = corners[(i + 1) % 4];
          const [a, b] = [values[y0][x0], values[y1][x1]];
          if (a >= threshold === b >= threshold) return;
          const t = (threshold - a) / (b - a);
          points.push([between(x0, x1, t) / FINE, between(y0, y1, t) / FINE]);
        });
        for (let i = 0; i + 1 < points.length; i += 2) found.push([points[i], points[i + 1]]);
      }
    return found;
  }

  function outline(context, width, height, lines) {
    context.beginPath();
    for (const [[x0, y0], [x1, y1]] of lines) {
      context.moveTo(x0 * width, y0 * height);
      context.lineTo(x1 * width, y1 * height);
    }
    context.lineCap = "round";
    for (const [strokeStyle, lineWidth] of [
      ["#fff", 4],
      ["#111", 1.75],
    ]) {
      Object.assign(context, { strokeStyle, lineWidth });
      context.stroke();
    }
  }

  function face(canvas, image, nodes, centres, method, { opacity, numbers, smooth, landmarks, caption }) {
    const width = canvas.clientWidth,
      height = Math.round((width * image.naturalHeight) / image.naturalWidth);
    const context = sharp(canvas, width, height + CAPTION);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
    if (opacity > 0) {
      // colour shall mean the map only
      context.globalCompositeOperation = "saturation";
      context.fillStyle = "#808080";
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = "source-over";
    }
    const x = edges(centres.columns).map((edge) => Math.round(edge * width)),
      y = edges(centres.rows).map((edge) => Math.round(edge * height));
    const alpha = (value) => strength(value, method.scale, method.signed);
    context.globalAlpha = opacity;
    if (smooth)
      smoothMap(context, width, height, nodes, centres, (value) => [...hue(value, method.signed), 255 * alpha(value)]);
    else
      nodes.forEach((line, row) =>
        line.forEach((value, column) => {
          context.fillStyle = rgba(hue(value, method.signed), alpha(value));
          context.fillRect(x[column], y[row], x[column + 1] - x[column], y[row + 1] - y[row]);
        }),
      );
    context.globalAlpha = 1;
    const w = width / nodes[0].length;
    if (!smooth && opacity > 0) {
      context.strokeStyle = "rgba(255, 255, 255, .22)";
      context.lineWidth = 1;
      context.beginPath();
      for (const edge of x.slice(1, -1)) {
        context.moveTo(edge, 0);
        context.lineTo(edge, height);
      }
      for (const edge of y.slice(1, -1)) {
        context.moveTo(0, edge);
        context.lineTo(width, edge);
      }
      context.stroke();
    }
    const lines = opacity > 0 && method.threshold != null ? crossings(nodes, centres, method.threshold) : null;
    if (lines) outline(context, width, height, lines);
    const { note, text } = cellText(w, method);
    const middle = (marks, i) => (marks[i] + marks[i + 1]) / 2;
    const write = (mark, row, column) => {
      const half = context.measureText(mark).width / 2 + 1; // a cell at the border may be narrower than its number
      const left = Math.max(half, Math.min(width - half, middle(x, column)));
      context.strokeText(mark, left, middle(y, row));
      context.fillText(mark, left, middle(y, row));
    };
    Object.assign(context, {
      textAlign: "center",
      textBaseline: "middle",
      lineJoin: "round",
      strokeStyle: "rgba(0, 0, 0, .75)",
      fillStyle: "#fff",
      lineWidth: 2.5,
    });
    context.font = numbers
      ? LABEL.replace("10", Math.max(8, Math.min(13, Math.round(w / 4.8))))
      : LABEL.replace("10", Math.round(Math.min(22, w * 0.45)));
    if (opacity > 0)
      nodes.forEach((line, row) =>
        line.forEach((value, column) => {
          const mark = numbers
            ? text(value)
            : method.signed && strength(value, method.scale, true) >= 0.2
              ? value < 0
                ? "−"
                : "+"
              : "";
          if (mark) write(mark, row, column);
        }),
      );
    for (const [px, py] of landmarks) {
      context.beginPath();
      context.arc(px * width, py * height, 4, 0, 2 * Math.PI);
      Object.assign(context, { fillStyle: "#ffd23f", strokeStyle: "#000", lineWidth: 1.5 });
      context.fill();
      context.stroke();
    }
    // In the picture, since pictures are passed on alone.
    Object.assign(context, { fillStyle: "#111", font: LABEL.replace("10", "12"), textAlign: "left" });
    context.fillRect(0, height, width, CAPTION);
    context.fillStyle = "#fff";
    context.fillText(caption, 6, height + CAPTION / 2, width - 12);
    const limit = lines ? `${lines.length ? "Outline: where" : "Nowhere"} the map reaches the threshold` : "";
    const named = lines ? `${limit} ${method.threshold.toFixed(2)}. ` : "";
    return named + (numbers && opacity > 0 ? note : "");
  }

  function bar(share, { signed }) {
    const node = document.createElement("span");
    const length = strength(share, 1, signed) * (signed ? 50 : 100);
    Object.assign(node.style, {
      width: `${length}%`,
      left: `${!signed ? 0 : share < 0 ? 50 - length : 50}%`,
      background: rgba(hue(share, signed), 1),
    });
    return node;
  }

  return { gradient, columns, nearest, curve, dot, strip, cellAt, crossings, face, bar, CAPTION };
})();
