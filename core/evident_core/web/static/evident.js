/* Evident: the one module of all pages. Every page works without it; it adds what waiting and pointing need.
   Pieces: choices (language, theme), dropzone, job progress and its first facts, evidence, card and viewer, contents,
   boards and what is live. */

const CHOICE_SECONDS = 365 * 86400;

/* --- choices: the server renders both from cookies; here they change without a new page ----------- */

export function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.cookie = `evident_theme=${theme};path=/;max-age=${CHOICE_SECONDS};samesite=lax`;
  for (const link of document.querySelectorAll("[data-set-theme]")) {
    if (link.dataset.setTheme === theme) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function choices(root) {
  for (const link of root.querySelectorAll("[data-set-theme]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      setTheme(link.dataset.setTheme);
    });
  }
}

/* --- requests ------------------------------------------------------------------------------------ */

export const csrfToken = () => document.querySelector("meta[name=csrf-token]").content;

/** fetch with the form's token; a refusal is thrown as an Error with the problem's sentence, and `problem` on it. */
export async function call(url, { json, ...options } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrfToken(), ...options.headers };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(url, { ...options, headers, body: json === undefined ? options.body : JSON.stringify(json) });
  const isJson = /\bjson\b/.test(response.headers.get("Content-Type") ?? "");
  const body = isJson ? await response.json() : await response.text();
  if (!response.ok) throw Object.assign(new Error(body.detail ?? response.statusText), { problem: body, status: response.status });
  return body;
}

/** Show a refusal. Its sentence is English: on a page of another language its `kind` stands before it in that one. */
function tell(root, text, kind = "") {
  const place = root.querySelector("[data-problem]");
  if (!place) return;
  place.textContent = text;
  place.hidden = !text;
  if (!kind) return;
  const heading = Object.assign(document.createElement("strong"), { textContent: kind });
  const sentence = Object.assign(document.createElement("span"), { textContent: text, lang: "en" });
  place.replaceChildren(heading, " ", sentence);
}

/* --- dropzone ------------------------------------------------------------------------------------ */

function accepts(input, file) {
  const kinds = input.accept.split(",").map((kind) => kind.trim().toLowerCase()).filter(Boolean);
  const name = file.name.toLowerCase();
  return !kinds.length || kinds.some((kind) => (kind.startsWith(".") ? name.endsWith(kind) : kind.endsWith("/*") ? file.type.startsWith(kind.slice(0, -1)) : file.type === kind));
}

export function dropzone(form) {
  const input = form.querySelector("input[type=file]");
  const bar = form.querySelector("progress");
  const send = () => {
    const file = input.files[0];
    if (!file) return;
    tell(form, "");
    const refusal = !accepts(input, file) ? form.dataset.wrongType : file.size > form.dataset.maxMib * 2 ** 20 ? form.dataset.tooLarge : "";
    if (refusal) {
      tell(form, refusal);
      input.value = "";
      return;
    }
    const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
    const body = new FormData(form);
    const settle = (text, kind) => {
      form.classList.remove("busy");
      bar.hidden = true;
      input.value = "";
      tell(form, text, kind);
    };
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) bar.value = event.loaded / event.total;
    });
    request.addEventListener("error", () => settle(form.dataset.failed));
    request.addEventListener("load", () => {
      if (request.status < 400) {
        location.assign(request.getResponseHeader("Location") ?? request.responseURL);
        return;
      }
      let problem = {};
      try {
        problem = JSON.parse(request.responseText);
      } catch {
        /* a proxy's own page: say that it failed */
      }
      settle(problem.detail ?? form.dataset.failed, JSON.parse(form.dataset.kinds ?? "{}")[problem.code]);
      form.dispatchEvent(new CustomEvent("evident:refused", { bubbles: true, detail: problem }));
    });
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/problem+json, text/html;q=0.9");
    form.classList.add("busy");
    bar.hidden = false;
    bar.value = 0;
    request.send(body);
  };
  form.classList.add("live");
  input.addEventListener("change", send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  for (const kind of ["dragenter", "dragover"]) {
    form.addEventListener(kind, (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
  }
  form.addEventListener("dragleave", (event) => {
    if (!form.contains(event.relatedTarget)) form.classList.remove("over");
  });
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      send();
    }
  });
}

/* --- progress of a job, by server-sent events ------------------------------------------------------ */

const FINAL = ["done", "failed", "cancelled"];

export function followJob(section) {
  const stages = [...section.querySelectorAll("[data-stage]")];
  const events = new EventSource(section.dataset.job); // reconnects by itself, with Last-Event-ID
  const show = (state) => {
    section.dataset.state = state;
  };
  const listen = (kind, handle) =>
    events.addEventListener(kind, (event) => {
      const data = event.data ? JSON.parse(event.data) : {};
      handle(data);
      section.dispatchEvent(new CustomEvent(`evident:${kind}`, { bubbles: true, detail: data }));
    });
  listen("progress", (data) => {
    show("running");
    const now = stages.findIndex((each) => each.dataset.stage === data.stage);
    if (now < 0) return;
    stages.forEach((each, index) => {
      each.classList.toggle("past", index < now);
      each.classList.toggle("now", index === now);
    });
    stages[now].querySelector("progress").value = data.total ? data.done / data.total : 0;
    stages[now].querySelector(".stage-count").textContent = data.total > 1 ? `${data.done} / ${data.total}` : "";
  });
  listen("state", (data) => {
    show(data.state);
    if (!FINAL.includes(data.state)) return;
    events.close();
    for (const each of stages) {
      if (data.state === "done") each.classList.add("past");
      each.classList.remove("now");
    }
    const next = data.state === "done" ? section.dataset.done : section.dataset.ended;
    if (next) location.replace(next);
    else if (data.error) tell(section, data.error.message);
  });
  return events;
}

/** What is known before the work is done: a progress may carry `partial`, with `facts` (id -> value) and `units`. */
export function firstFacts(section) {
  const labels = JSON.parse(section.dataset.labels || "{}");
  const list = section.querySelector("[data-partial-list]");
  const entry = (id, value, unit) => {
    const [name, period] = id.split("@");
    const [row, term, definition] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = [labels[name] ?? name, period].filter(Boolean).join(" · ");
    const grouped = unit && /^-?\d/.test(value) ? value.replace(/^-?\d+/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",")) : value;
    definition.textContent = unit && unit !== "1" ? `${grouped} ${unit}` : grouped;
    row.append(term, definition);
    return row;
  };
  document.addEventListener("evident:progress", ({ detail }) => {
    const facts = Object.entries(detail.partial?.facts ?? {});
    if (!facts.length) return;
    list.replaceChildren(...facts.map(([id, value]) => entry(id, value, detail.partial.units?.[id])));
    section.dataset.partial = "known";
  });
}

/* --- evidence: pointing at a value lights its place -------------------------------------------------- */

const HOVER_MS = 90;
let pinned = null;
let shown = null;
let timer = 0;

export function readEvidence(element) {
  const { evidence: id, page, bbox, boxes, quote } = element.dataset;
  const own = page && bbox ? [[Number(page), ...bbox.split(",").map(Number)]] : [];
  return { id, page: page ? Number(page) : null, boxes: boxes ? JSON.parse(boxes) : own, quote: quote ?? "", element };
}

/** Show where a value was read: marks the element and tells everybody who listens for `evident:evidence`. */
export function showEvidence(element, { pin = false } = {}) {
  if (pin) {
    pinned?.classList.remove("pinned");
    pinned = pinned === element ? null : element;
    pinned?.classList.add("pinned");
  }
  shown?.classList.remove("shown");
  shown = element;
  shown.classList.add("shown");
  document.dispatchEvent(new CustomEvent("evident:evidence", { detail: { ...readEvidence(element), pinned: pinned === element } }));
}

function evidence() {
  const of = (event) => event.target.closest?.("[data-evidence]");
  const soon = (event) => {
    const element = of(event);
    clearTimeout(timer);
    if (element && !pinned?.isConnected) timer = setTimeout(() => showEvidence(element), HOVER_MS);
  };
  document.addEventListener("pointerover", soon);
  document.addEventListener("focusin", soon);
  document.addEventListener("click", (event) => {
    const element = of(event);
    // Without a viewer on the page, and with a modifier key, the link is a link.
    if (!element || event.ctrlKey || event.metaKey || event.shiftKey || !document.querySelector("[data-viewer]")) return;
    event.preventDefault();
    clearTimeout(timer);
    showEvidence(element, { pin: true });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !pinned) return;
    pinned.classList.remove("pinned");
    pinned = null;
  });
}

export function viewer(figure) {
  const image = figure.querySelector(".viewer-page img");
  const overlay = figure.querySelector(".viewer-page svg");
  const label = figure.querySelector("[data-page-label]");
  const scroller = figure.querySelector(".viewer-scroll");
  const sizes = JSON.parse(figure.dataset.sizes);
  const count = Number(figure.dataset.count);
  const address = (page) => figure.dataset.source.replace("{page}", page);
  let at = Number(figure.dataset.at);

  const reveal = () => {
    const box = overlay.querySelector(".lit")?.getBoundingClientRect();
    const frame = scroller.getBoundingClientRect();
    if (!box || (box.top >= frame.top + 24 && box.bottom <= frame.bottom - 24)) return;
    scroller.scrollTo({ top: scroller.scrollTop + box.top - frame.top - frame.height / 3, behavior: "smooth" });
  };
  // `loading` hides the boxes: they never lie on the page that was there before.
  const state = (name) => ["loading", "failed"].forEach((each) => figure.classList.toggle(each, each === name));
  const loaded = () => {
    state("");
    reveal();
  };
  const failed = async () => {
    state("failed");
    const page = at;
    const reason = await call(address(page)).then(() => "", (error) => error.message);
    if (page === at) tell(figure, reason);
  };
  const go = (page, boxes = []) => {
    const [width, height] = sizes[page] ?? sizes.default;
    overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    overlay.replaceChildren(
      ...boxes.map(([x0, y0, x1, y1]) => {
        const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const place = { x: x0 - 2, y: y0 - 2, width: x1 - x0 + 4, height: y1 - y0 + 4, class: "lit" };
        for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value);
        return rect;
      }),
    );
    if (page === at) {
      if (image.complete) reveal();
      return;
    }
    at = page;
    figure.dataset.at = page;
    state("loading");
    tell(figure, "");
    image.src = address(page);
    image.alt = label.dataset.template.replace("{page}", page);
    label.textContent = image.alt;
  };
  image.addEventListener("load", loaded);
  image.addEventListener("error", failed);
  for (const button of figure.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => go(Math.min(count, Math.max(1, at + Number(button.dataset.step)))));
  }
  document.addEventListener("evident:evidence", ({ detail }) => {
    if (detail.page) go(detail.page, detail.boxes.filter(([page]) => page === detail.page).map(([, ...box]) => box));
    if (detail.page && detail.pinned) figure.closest("[data-sheet]")?.classList.add("open");
  });
  if (!image.complete) state("loading");
  else if (image.naturalWidth) loaded();
  else failed();
  // The pages that are asked for most are fetched while nothing else happens, one after the other.
  const ahead = (figure.dataset.ahead || "").split(",").filter(Boolean);
  const fetchNext = () => {
    const page = ahead.shift();
    if (page) Object.assign(new Image(), { onload: fetchNext, src: address(page) });
  };
  if (document.readyState === "complete") fetchNext();
  else addEventListener("load", fetchNext, { once: true });
  return { go };
}

/** What the server says of the value that is pointed at, below the viewer. */
export function card(place) {
  let asked = "";
  document.addEventListener("evident:evidence", async ({ detail }) => {
    if (!detail.id || place.contains(detail.element)) return;
    asked = detail.id;
    const address = place.dataset.evidenceCard.replace("{id}", encodeURIComponent(asked));
    const text = await call(address, { headers: { Accept: "text/html" } }).catch(() => "");
    if (asked !== detail.id) return; // something else was pointed at meanwhile
    place.innerHTML = text;
    place.hidden = !text;
  });
}

/** On a small screen the source lies over the report's foot when something is pinned, and goes again. */
function sheet(place) {
  const close = () => place.classList.remove("open");
  place.querySelector("[data-sheet-close]")?.addEventListener("click", close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
}

/** A table of contents that tells where the reader is. */
function contents(nav) {
  const links = new Map([...nav.querySelectorAll("a[href^='#']")].map((link) => [document.getElementById(link.hash.slice(1)), link]));
  const watch = new IntersectionObserver(
    (entries) => {
      const entered = entries.find((entry) => entry.isIntersecting);
      if (!entered) return;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entered.target);
      link.setAttribute("aria-current", "true");
      nav.scrollTo({ left: link.offsetLeft - nav.clientWidth / 3 });
    },
    { rootMargin: "-25% 0px -74% 0px" },
  );
  for (const target of links.keys()) if (target) watch.observe(target);
}

/* --- inspection: boxes that answer to what is pointed at, and a part of a page that stays live -------- */

const LIVE_MS = 3000;

/** Light the boxes and rows of the defects that the pointed-at value rests on; a box lights its row. */
export function board(figure) {
  const light = (numbers) => {
    for (const box of figure.querySelectorAll("[data-box]")) box.classList.toggle("lit", numbers.includes(box.dataset.box));
    for (const row of document.querySelectorAll("[data-row]")) row.classList.toggle("shown", numbers.includes(row.dataset.row));
  };
  const point = (event) => {
    const found = event.target.closest?.("[data-defects], [data-row]");
    if (found) light((found.dataset.defects ?? found.dataset.row).split(",").filter(Boolean));
  };
  document.addEventListener("pointerover", point);
  document.addEventListener("focusin", point);
}

/** Fetch a part of the page again and again; it rests while nobody looks or somebody works in it. */
export function live(section) {
  section.querySelector(".live-mark")?.removeAttribute("hidden");
  let before = "";
  const refresh = async () => {
    if (document.hidden || section.contains(document.activeElement)) return;
    const text = await call(section.dataset.live, { headers: { Accept: "text/html" } }).catch(() => "");
    if (!text || text === before) return;
    before = text;
    const open = Boolean(section.querySelector("details[open]"));
    section.innerHTML = text;
    section.querySelector(".live-mark")?.removeAttribute("hidden");
    if (open) section.querySelector("details")?.setAttribute("open", "");
  };
  return setInterval(refresh, LIVE_MS);
}

/* --- start --------------------------------------------------------------------------------------- */

choices(document);
evidence();
for (const form of document.querySelectorAll("form[data-dropzone]")) dropzone(form);
for (const section of document.querySelectorAll("[data-partial]")) firstFacts(section);
for (const section of document.querySelectorAll("[data-job]")) if (!FINAL.includes(section.dataset.state)) followJob(section);
for (const figure of document.querySelectorAll("[data-viewer]")) viewer(figure);
for (const place of document.querySelectorAll("[data-evidence-card]")) card(place);
for (const place of document.querySelectorAll("[data-sheet]")) sheet(place);
for (const nav of document.querySelectorAll("[data-contents]")) contents(nav);
for (const figure of document.querySelectorAll("[data-board]")) board(figure);
for (const section of document.querySelectorAll("[data-live]")) live(section);
for (const opener of document.querySelectorAll("[data-opens]")) opener.addEventListener("click", () => document.getElementById(opener.dataset.opens).showModal());
for (const button of document.querySelectorAll("[data-print]")) button.addEventListener("click", () => window.print());
