/* Two things that a style sheet cannot do alone (custom.css has the rest). */

(function () {
  "use strict";

  /* ------------------------------------------------------------ what is wider than a phone

     Code, formulas, tables and wide figures scroll by themselves.  Where more is to come the edge
     fades, and the arrow keys move what has the focus.  A formula within a line scrolls when it is
     wider than the text. */

  const WIDE =
    "pre, mjx-container, .pst-scrollable-table-container, .cell_output .text_html, .chapter-map-frame, .wide-figure, .alphafair .wide";

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
    inline.forEach((formula, k) => {
      formula.toggleAttribute("data-wide", wide[k]);
      if (!wide[k]) delete formula.dataset.more; // it was wide before all letters were there
    });
    const scroll = found.filter((element) => !isInline(element) || element.dataset.wide === "");
    const sides = scroll.map(more);
    scroll.forEach((element, k) => {
      element.dataset.more = sides[k];
      if (sides[k]) element.tabIndex = 0;
      else if (element.localName !== "mjx-container") element.removeAttribute("tabindex");
    });
  }

  function start() {
    night();
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

  /* ------------------------------------------------------------ figures in the dark

     Figures are drawn on white.  In the dark black and white change places, but colours stay what
     the text calls them: to invert all would make orange brown and red orange.  So the lightness
     Y of each pixel becomes NIGHT[10 Y], which is level in the middle, and its hue is kept: the
     same number is added to red, green and blue.  White becomes the colour of the page. */

  const NIGHT = [0.93, 0.82, 0.7, 0.61, 0.58, 0.58, 0.58, 0.55, 0.4, 0.22, 0.07];

  function night() {
    const added = NIGHT.map((y, k) => (0.5 + (y - k / 10) / 2).toFixed(3)).join(" ");
    const lightness = "0.3 0.59 0.11 0 0 ".repeat(3) + "0 0 0 1 0";
    const curve = ["R", "G", "B"]
      .map((channel) => `<feFunc${channel} type="table" tableValues="${added}"/>`)
      .join("");
    document.body.insertAdjacentHTML(
      "beforeend",
      `<svg width="0" height="0" style="position: absolute" aria-hidden="true">
        <filter id="night" color-interpolation-filters="sRGB">
        <feColorMatrix values="${lightness}"/>
        <feComponentTransfer result="added">${curve}</feComponentTransfer>
        <feComposite in="SourceGraphic" in2="added" operator="arithmetic" k2="1" k3="2" k4="-1"/>
        </filter></svg>`
    );
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
