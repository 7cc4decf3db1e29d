/* What is too wide for a phone scrolls by itself: code, formulas and tables.

   Where more is to come its edge fades (custom.css), and the arrow keys move it once it has the
   focus.  A formula within a line gets a line of its own kind when it is wider than the text. */

(function () {
  "use strict";

  const WIDE = "pre, mjx-container, .pst-scrollable-table-container, .cell_output .text_html";

  /* "left", "right" or both: the sides on which something is out of sight. */
  function more(element) {
    const rest = element.scrollWidth - element.clientWidth;
    if (rest <= 1) return "";
    const at = Math.abs(element.scrollLeft);
    return [at > 1 && "left", at < rest - 1 && "right"].filter(Boolean).join(" ");
  }

  const isInline = (element) =>
    element.localName === "mjx-container" && !element.hasAttribute("display");

  function isTooWide(formula) {
    const line = formula.parentElement.closest("p, li, dd, td, th, div");
    return formula.firstElementChild.offsetWidth > line.clientWidth && line.clientWidth > 0;
  }

  function mark(element) {
    element.dataset.more = more(element);
  }

  function survey(article) {
    const found = [...article.querySelectorAll(WIDE)];
    const inline = found.filter(isInline);
    const wide = inline.map(isTooWide); // first all reading, then all writing
    inline.forEach((formula, k) => formula.toggleAttribute("data-wide", wide[k]));
    const scroll = found.filter((element) => !isInline(element) || element.dataset.wide === "");
    const sides = scroll.map(more);
    scroll.forEach((element, k) => {
      element.dataset.more = sides[k];
      if (sides[k]) element.tabIndex = 0;
      else if (element.localName !== "mjx-container") element.removeAttribute("tabindex");
    });
  }

  function start() {
    const article = document.querySelector("article");
    if (!article) return;
    const again = new ResizeObserver(() => survey(article)); // also when a fold opens
    again.observe(article);
    document.addEventListener(
      "scroll",
      (event) => {
        if (event.target.dataset && "more" in event.target.dataset) mark(event.target);
      },
      { capture: true, passive: true }
    );
    window.addEventListener("load", () => {
      if (window.MathJax && MathJax.startup) MathJax.startup.promise.then(() => survey(article));
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
