"use strict";
// The examiner's own notes and decision. They go into a file of their own, which the browser saves; the page and
// report.json stay as they are, so what the machine found and what a person decided cannot be confused.
const notes = (() => {
  const { at } = build;

  function content(doc) {
    return {
      kind: "examiner's notes on a report of resgat explain",
      schema: 1,
      file: doc.file,
      file_sha256: doc.custody ? doc.custody.input.sha256 : null,
      report_began: doc.custody ? doc.custody.began : null,
      examiner: at("examiner-name").value,
      decision: at("examiner-decision").value,
      notes: at("examiner-notes").value,
      written: new Date().toISOString(),
    };
  }

  function listen(doc) {
    at("examiner-save").addEventListener("click", () => {
      const text = JSON.stringify(content(doc), null, 2);
      const link = build.el("a", {
        href: `data:application/json;charset=utf-8,${encodeURIComponent(text)}`,
        download: `${doc.file.replace(/[^\w.-]+/g, "_")}.examiner.json`,
      });
      document.body.append(link);
      link.click();
      link.remove();
      at("examiner-said").textContent = `Saved as ${link.download}, apart from the report.`;
    });
  }

  return { listen };
})();
