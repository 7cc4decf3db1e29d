/* Pictures that a reader can drag (book/drag.py makes them).

   A slider has a few stops.  Whatever moves has a table with a value for each stop, and this page
   looks it up: [attribute, [stops of each slider, or 1], values].  Pictures whose settings cannot be
   listed name a function below, which gets the values of the sliders and returns what to show. */

(function () {
  "use strict";

  /* ------------------------------------------------------------------- computed pictures */

  const compute = {};

  /* The bound on the waste of a plan (book/certificate.ipynb): group k needs its money[k], the next
     dollar is worth value[k] to it (shown in millionths), and the least of the dollars wasted at four
     prices counts. */
  compute.gap = function ({ P, w, Q, alpha }, money) {
    const sum = (term) => P.reduce((total, _, k) => total + term(k), 0);
    const worth = (k, dollars) => w[k] * P[k] * (P[k] * dollars) ** -alpha;
    const h = (ratio) => 1 + (alpha * ratio ** (1 / alpha) - ratio) / (1 - alpha);
    const value = money.map((dollars, k) => worth(k, dollars));
    const prices = [
      Math.max(...value),
      sum((k) => value[k] * money[k]) / Q,
      sum((k) => worth(k, Q / P.length)) / P.length,
      (sum((k) => (w[k] * P[k]) ** (1 / alpha) / P[k]) / Q) ** alpha,
    ];
    const misplaced = (price) => sum((k) => money[k] * h(value[k] / price));
    const spent = sum((k) => money[k]);
    const hopeless = money.includes(0); // welfare is −∞ at α ≥ 1
    const rest = Math.max(Q - spent, 0);
    const wrong = hopeless ? Q - rest : Math.min(...prices.map(misplaced));
    const percent = (100 * Math.min(wrong + rest, Q)) / Q;
    const found = {
      spent: String(spent),
      verdict:
        spent > Q
          ? `That is ${spent - Q} more than there are, so it is not a plan.`
          : `At most ${percent.toFixed(1)} percent of the ${Q} are wasted.`,
      "lost-0": Math.min(wrong, 150),
      "lost-1": Math.min(rest, 150),
    };
    money.forEach((dollars, k) => {
      const millionths = 1e6 * value[k];
      found[`money-${k}`] = dollars;
      found[`worth-${k}`] = Math.min(millionths, 600);
      found[`value_${k}`] = dollars > 0 ? millionths.toFixed(0) : "∞";
    });
    return found;
  };

  /* ------------------------------------------------------------------------- the library */

  const opacity = (shade) => (0.06 + (0.94 * shade) / 9).toFixed(2);

  function put(element, attribute, value) {
    if (attribute === "text") {
      element.textContent = value;
    } else if (attribute === "shade") {
      element.querySelectorAll("circle").forEach((dot, k) => {
        dot.setAttribute("fill-opacity", opacity(value[k]));
      });
    } else {
      element.setAttribute(attribute, value);
    }
  }

  /* A number that was computed: the length of a bar, the place of a rule, or the words of a text. */
  function putComputed(element, value) {
    const svg = element.closest("svg[data-axis]");
    if (!svg) {
      element.textContent = value;
      return;
    }
    const [zero, slope] = svg.dataset.axis.split(" ").map(Number);
    const x = (zero + slope * value).toFixed(1);
    if (element.dataset.bar) {
      const [top, tall] = element.dataset.bar.split(" ");
      element.setAttribute("d", `M${zero} ${top}H${x}v${tall}H${zero}z`);
    } else if (element.tagName === "line") {
      element.setAttribute("transform", `translate(${x} 0)`);
    } else {
      element.textContent = value;
    }
  }

  function start(root) {
    const spec = JSON.parse(root.querySelector("script").textContent);
    const inputs = [...root.querySelectorAll("input")];
    const outputs = [...root.querySelectorAll("output")];
    const moving = [...root.querySelectorAll("[data-m]")];
    const keyed = [...root.querySelectorAll("[data-key]")];
    const tables = (element) => element.dataset.m.split(" ").map((k) => spec.moves[k]);
    const read = ([, stops, values], stop) =>
      values[stops.reduce((at, n, j) => at * n + (n > 1 ? stop[j] : 0), 0)];

    function draw() {
      const stop = inputs.map((input) => Number(input.value));
      inputs.forEach((input, j) => {
        outputs[j].textContent = spec.text[j][stop[j]];
        input.setAttribute("aria-valuetext", spec.text[j][stop[j]]);
      });
      moving.forEach((element) => {
        tables(element).forEach((table) => put(element, table[0], read(table, stop)));
      });
      if (spec.function) {
        const values = stop.map((k, j) => spec.values[j][k]);
        const found = compute[spec.function](spec.data, values);
        keyed.forEach((element) => putComputed(element, found[element.dataset.key]));
      }
    }

    /* The stops nearest to a pointer, of the sliders that the handle drags. */
    function follow(handle, event) {
      const svg = handle.ownerSVGElement;
      const point = new DOMPoint(event.clientX, event.clientY);
      const at = point.matrixTransform(svg.getScreenCTM().inverse());
      const table = tables(handle).find(([attribute]) => attribute === "transform");
      const dragged = JSON.parse(handle.dataset.drags);
      let stops = [inputs.map((input) => Number(input.value))];
      dragged.forEach((j) => {
        stops = stops.flatMap((stop) =>
          spec.text[j].map((_, k) => stop.map((old, i) => (i === j ? k : old)))
        );
      });
      let best = null;
      stops.forEach((stop) => {
        const [x, y] = read(table, stop).match(/-?[\d.]+/g).map(Number);
        const far = Math.hypot(x - at.x, y - at.y);
        if (best === null || far < best.far) best = { far, stop };
      });
      best.stop.forEach((k, j) => (inputs[j].value = k));
      draw();
    }

    inputs.forEach((input) => input.addEventListener("input", draw));
    root.querySelectorAll(".drag-handle[data-m]").forEach((handle) => {
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      handle.addEventListener("pointermove", (event) => {
        if (handle.hasPointerCapture(event.pointerId)) follow(handle, event);
      });
    });
    root.querySelectorAll(".drag-say b").forEach(({ nextSibling: after }) => {
      if (after && after.data) after.data = after.data.replace(/^ %/, "\u00a0%"); // beside its number
    });
    root.querySelector(".drag-sliders").hidden = false;
    draw();
  }

  const all = () => document.querySelectorAll("figure.drag").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  else all();
})();
