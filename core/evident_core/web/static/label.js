/* Evident: labelling by pointer and by key. Every page works without it: boxes are typed, buttons are clicked. */

const LEAST_PIXELS = 3; // a shorter drag was a click
const SEEN_AFTER = 300; // milliseconds that a question is shown before an answer to it is taken

/** Draw a box on an SVG in its own coordinates: `form` gets "x0 y0 x1 y1" as its `box`, whole pixels within the view. */
export function drawing(details, svg) {
  const form = details.querySelector("form");
  const input = form.elements.box;
  const buttons = document.querySelectorAll("[data-draw]");
  const hint = details.querySelector("[data-drawing]");
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  drawn.setAttribute("class", "drawn");
  svg.append(drawn);
  let from = null;

  const set = (on) => {
    svg.classList.toggle("drawing", on);
    hint.hidden = !on;
    for (const button of buttons) button.setAttribute("aria-pressed", String(on));
    if (on) {
      details.open = true;
      svg.scrollIntoView({ block: "nearest" });
    }
  };
  const place = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const { width, height } = svg.viewBox.baseVal;
    return [Math.min(Math.max(point.x, 0), width), Math.min(Math.max(point.y, 0), height)];
  };
  const show = () => {
    const box = input.value.split(/[\s,]+/).filter(Boolean).map(Number);
    const whole = box.length === 4 && box.every(Number.isFinite) && box[0] < box[2] && box[1] < box[3];
    const [x, y, right, bottom] = whole ? box : [0, 0, 0, 0];
    for (const [name, value] of Object.entries({ x, y, width: right - x, height: bottom - y })) drawn.setAttribute(name, value);
  };

  for (const button of buttons) {
    button.hidden = false;
    button.addEventListener("click", () => set(!svg.classList.contains("drawing")));
  }
  input.addEventListener("input", show);
  svg.addEventListener("pointerdown", (event) => {
    if (!svg.classList.contains("drawing") || event.button !== 0) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    from = place(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = place(event);
    const [x, y] = [0, 1].map((axis) => [from[axis], to[axis]].sort((a, b) => a - b));
    input.value = [Math.floor(x[0]), Math.floor(y[0]), Math.ceil(x[1]), Math.ceil(y[1])].join(" ");
    show();
  });
  svg.addEventListener("pointerup", (event) => {
    if (!from) return;
    const moved = Math.max(...place(event).map((value, axis) => Math.abs(value - from[axis])));
    from = null;
    if (moved < LEAST_PIXELS) return;
    set(false);
    form.elements.kind.focus();
    form.scrollIntoView({ block: "nearest" });
  });
  svg.addEventListener("pointercancel", () => (from = null));
  document.addEventListener("keydown", (event) => event.key === "Escape" && set(false));
  show();
}

/** Answer questions by key: the question with the focus, else the first; `data-key` says which key is which answer.
    An answer counts once, and only for a question that has been on the screen: what comes while one is on its way, or
    before the next is shown, is not taken, and the page says so. */
export function keys(questions) {
  const all = [...questions.querySelectorAll(".question")];
  const focus = (question) => question?.querySelector("button")?.focus();
  const early = document.querySelector("[data-early]");
  const answers = 'form[action$="/label"]';
  const busy = () => questions.getAttribute("aria-busy") === "true";
  const wait = () => questions.setAttribute("aria-busy", "true");
  const open = async () => {
    await Promise.allSettled([...(all[0]?.querySelectorAll("image") ?? [])].map((image) => image.decode?.()));
    await new Promise(requestAnimationFrame); // never while the page is not on the screen
    setTimeout(() => questions.setAttribute("aria-busy", "false"), SEEN_AFTER);
  };
  const refuse = (event) => {
    event.preventDefault();
    tell(true);
    sessionStorage.setItem("early", "1"); // told on the page that is on its way, too
  };
  const tell = (on) => {
    if (early) early.hidden = !on;
    if (!on) sessionStorage.removeItem("early");
  };
  document.addEventListener("submit", (event) => {
    if (!event.target.matches(answers)) return;
    if (busy()) return refuse(event);
    tell(false);
    wait();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const key = event.key.toLowerCase();
    if (event.repeat && (key === "enter" || key === " ") && event.target.closest(answers)) return event.preventDefault();
    const at = Math.max(0, all.indexOf(document.activeElement.closest(".question")));
    if (key === "j" || key === "k") return focus(all[at + (key === "j" ? 1 : -1)]);
    const asked = `[data-key="${CSS.escape(key)}"]`;
    const answer = all[at]?.querySelector(asked) ?? document.querySelector(`[data-undo] ${asked}`);
    if (!answer) return;
    event.preventDefault();
    if (event.repeat) return;
    if (busy()) return refuse(event);
    if (answer.localName !== "option") {
      answer.click();
      if (answer.localName === "summary") answer.parentElement.querySelector("button").focus(); // what it asks
      return;
    }
    answer.selected = true;
    all[at].querySelector("[value=relabel]").click();
  });
  addEventListener("pageshow", (event) => event.persisted && open()); // gone back to: what was sent has arrived
  if (early) early.hidden = sessionStorage.getItem("early") === null;
  sessionStorage.removeItem("early");
  wait();
  open();
  for (const hint of document.querySelectorAll("[data-keys-hint]")) hint.hidden = false;
}

for (const details of document.querySelectorAll("[data-draws]")) drawing(details, document.getElementById(details.dataset.draws));
for (const questions of document.querySelectorAll("[data-questions]")) keys(questions);
if (location.hash === "#missed") document.getElementById("missed")?.setAttribute("open", "");
