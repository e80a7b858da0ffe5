"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // Theme: the system's until the button is used.
  const theme = byId("theme"), root = document.documentElement;
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const tellTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tellTheme();
  });
  systemDark.addEventListener("change", tellTheme);
  tellTheme();

  // Classes: the headings sort, numbers best first, what is not defined last; the field filters.
  const table = byId("class-table"), body = table.tBodies[0];
  const key = (row, column) => (column ? parseFloat(row.cells[column].dataset.value) : row.cells[0].textContent);
  all("th button", table).forEach((button, column) => {
    button.addEventListener("click", () => {
      const head = button.parentElement, before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : column === 0;
      all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const sign = ascending ? 1 : -1;
      const compare = (a, b) => (column ? a - b : a.localeCompare(b, undefined, { numeric: true }));
      const rows = Array.from(body.rows, (row) => [key(row, column), row]);
      rows.sort(([a], [b]) => Number.isNaN(a) - Number.isNaN(b) || sign * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
  const filter = byId("filter");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    byId("filter-count").textContent = `${shown} of ${body.rows.length} classes`;
  });

  // Curves: one slider, or the pointer over a curve, reads all of them.
  const readAt = byId("read-at");
  if (readAt) {
    const curves = JSON.parse(byId("curve-values").textContent);
    const rows = Array.from(byId("values").tBodies[0].rows);
    const read = () => {
      const position = Number(readAt.value), text = (position / 100).toFixed(2);
      byId("read-at-shown").textContent = text;
      readAt.setAttribute("aria-valuetext", text);
      rows.forEach((row, number) =>
        curves.rows[number].values.forEach((values, column) => {
          row.cells[column + 1].textContent = values[position].toFixed(3);
        }));
      for (const line of all(".cursor")) {
        line.setAttribute("x1", curves.x[position]);
        line.setAttribute("x2", curves.x[position]);
        line.style.visibility = "visible";
      }
    };
    readAt.addEventListener("input", read);
    for (const chart of all("svg[data-values]")) {
      if (chart.dataset.values === "pr") continue;
      chart.addEventListener("pointermove", (event) => {
        const area = chart.getBoundingClientRect(), scale = chart.viewBox.baseVal.width / area.width;
        const low = curves.x[0], high = curves.x[curves.x.length - 1];
        const share = ((event.clientX - area.left) * scale - low) / (high - low);
        readAt.value = Math.round(Math.min(Math.max(share, 0), 1) * 100);
        read();
      });
    }
  }

  // Gallery: which predictions are shown, and what that makes of the objects.
  const slider = byId("confidence");
  if (slider) {
    const gallery = document.querySelector(".gallery");
    const pictures = all(".picture").map((picture) => ({
      objects: all(".object:not(.ignored)", picture).map((box) => [box, Number(box.dataset.score)]),
      predictions: all(".prediction", picture).map((box) => [box, Number(box.dataset.score)]),
      caption: Object.fromEntries(["true", "false", "missed"].map((name) => [name, picture.querySelector(`figcaption .${name}`)])),
    }));
    const total = byId("gallery-total");
    const tell = (sum) => {
      total.textContent = `${sum.true} right, ${sum.false} false alarms, ${sum.missed} missed in these images`;
    };
    const apply = () => {
      const least = Number(slider.value), sum = { true: 0, false: 0, missed: 0 };
      byId("confidence-shown").textContent = least.toFixed(3);
      for (const { objects, predictions, caption } of pictures) {
        const counts = { true: 0, false: 0, missed: 0 };
        for (const [box, score] of predictions) {
          const shown = score >= least;
          box.classList.toggle("off", !shown);
          if (shown && box.classList.contains("true")) counts.true += 1;
          if (shown && box.classList.contains("false")) counts.false += 1;
        }
        for (const [box, score] of objects) {
          const missed = score < least;
          box.classList.toggle("missed", missed);
          box.classList.toggle("found", !missed);
          counts.missed += missed;
        }
        for (const name of Object.keys(sum)) {
          caption[name].textContent = counts[name];
          sum[name] += counts[name];
        }
      }
      tell(sum);
    };
    slider.addEventListener("input", apply);
    const start = { true: 0, false: 0, missed: 0 };
    for (const { caption } of pictures) for (const name of Object.keys(start)) start[name] += Number(caption[name].textContent);
    tell(start);
    for (const name of ["objects", "predictions", "names"]) {
      const box = byId(`show-${name}`);
      box.addEventListener("change", () => gallery.classList.toggle(`${name}-off`, !box.checked));
    }
  }
})();
