const faults = [], all = (selector) => Array.from(document.querySelectorAll(selector));
const named = (e) => (e.getAttribute("aria-label") || e.textContent || "").trim();
for (const e of all("input")) if (!e.labels.length || !e.labels[0].textContent.trim()) faults.push(["no label", e.id]);
for (const e of all("button, a, [role=region]")) if (!named(e)) faults.push(["no name", e.outerHTML.slice(0, 80)]);
for (const e of all("img")) if (!e.alt.trim()) faults.push(["no alt", e.src.slice(0, 30)]);
for (const e of all("table")) if (!e.caption) faults.push(["no caption", e.id]);
for (const e of all("th")) if (!e.scope) faults.push(["no scope", e.textContent]);
for (const e of all("svg")) if (e.getAttribute("aria-hidden") !== "true" && e.getAttribute("role") !== "img")
    faults.push(["svg without a role", e.outerHTML.slice(0, 80)]);
for (const e of all("[aria-labelledby], [for]")) for (const id of (e.getAttribute("aria-labelledby") || e.htmlFor || "").toString().split(" "))
    if (id && !document.getElementById(id)) faults.push(["label is missing", id]);
for (const e of all("nav a")) if (!document.querySelector(e.getAttribute("href"))) faults.push(["link to nothing", e.href]);
const ids = all("[id]").map((e) => e.id);
for (const id of ids) if (ids.filter((other) => other === id).length > 1) faults.push(["id twice", id]);
for (const name of ["header", "nav", "main", "h1"]) if (all(name).length !== 1) faults.push(["not exactly one", name]);
let level = 0;
for (const e of all("h1, h2, h3, h4")) { const next = Number(e.tagName[1]); if (next > level + 1) faults.push(["heading skips", e.textContent]); level = next; }
if (!document.documentElement.lang) faults.push(["no language", ""]);
return faults;
