/* What a page of the book tells about itself: tests/test_browser.py puts these questions. */

window.page = (function () {
  "use strict";

  const content = () => document.querySelector(".bd-article-container");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const brief = (text) => text.trim().replace(/\s+/g, " ").slice(0, 60);
  const label = (element) => {
    const names = element.getAttribute("class") || "";
    return `<${element.localName} class="${names}"> ${brief(element.textContent)}`;
  };

  /* ------------------------------------------------------------------------- loading */

  /* Nothing moves by itself, formulas are typeset and letters are there; every fold is open, so that
     it is seen, too. */
  async function ready() {
    const still = document.createElement("style");
    still.textContent = `* {
      transition: none !important; animation: none !important; scroll-behavior: auto !important;
    }`;
    document.head.append(still);
    if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
    all("details").forEach((fold) => (fold.open = true));
    all(".toggle-hidden").forEach((fold) => fold.classList.remove("toggle-hidden"));
    all("img").forEach((image) => (image.loading = "eager"));
    await Promise.all(all("img").map((image) => image.decode().catch(() => null)));
    await document.fonts.ready;
  }

  /* Milliseconds until something was to be seen. */
  const firstPaint = () =>
    performance.getEntriesByName("first-contentful-paint").map((paint) => paint.startTime)[0];

  /* Laid out anew, and told to those who watch. */
  const settle = () =>
    new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())));

  /* ------------------------------------------------------------------------- reading */

  const QUOTED = "pre, code, script, style, mjx-container, .highlight";

  function mathematics() {
    const formulas = all(".math"); // those of the contents, too
    const walk = document.createTreeWalker(content(), NodeFilter.SHOW_TEXT);
    const raw = [];
    while (walk.nextNode()) {
      const text = walk.currentNode.data;
      const tex = /\\[a-zA-Z]|\\[([]|\$[^$]*[\\_^{][^$]*\$|\?\?\?/.test(text);
      if (tex && !walk.currentNode.parentElement.closest(QUOTED)) raw.push(brief(text));
    }
    return {
      count: formulas.length,
      plain: formulas.filter((f) => !f.querySelector("mjx-container")).map(label),
      wrong: all("mjx-merror, [data-mjx-error], mjx-mtext[style*='color: red']").map(label),
      raw,
    };
  }

  const images = () =>
    all("img", content()).map((image) => ({
      alt: image.getAttribute("alt"),
      there: image.naturalWidth > 0,
      source: image.getAttribute("src"),
    }));

  /* Those of a drawing have an object in place of the address. */
  const address = (link) => new URL(link.getAttribute("href"), document.baseURI).href;
  const links = () => [...new Set(all("a[href]").map(address))];

  /* ------------------------------------------------------------------------- width */

  const scrolls = (element) => /auto|scroll/.test(getComputedStyle(element).overflowX);
  const right = (element) => element.getBoundingClientRect().right;
  const hides = (element) => /hidden|clip/.test(getComputedStyle(element).overflowX);

  /* What sticks out of the window and cannot be scrolled to, and what scrolls by itself. */
  function width() {
    const root = document.scrollingElement; // `innerWidth` grows with what is too wide for a phone
    const out = [];
    const scrollers = [];
    for (const element of content().querySelectorAll(":not(mjx-container *, svg *)")) {
      if (scrolls(element) && element.scrollWidth > element.clientWidth + 1) {
        const cue = getComputedStyle(element).maskImage.includes("gradient");
        scrollers.push({ what: label(element), cue });
      }
      if (right(element) <= root.clientWidth + 1) continue;
      const cuts = (other) => hides(other) && right(other) < right(element) - 1;
      let around = element.parentElement;
      while (around && !scrolls(around) && !cuts(around)) around = around.parentElement;
      if (!around || !scrolls(around)) out.push(label(element));
    }
    return { sideways: root.scrollWidth - root.clientWidth, out, scrollers, torn: [...torn(), ...divided()] };
  }

  /* Formulas whose comma begins the next line. */
  const torn = () =>
    all("mjx-container:not([display], [data-wide])", content())
      .filter((formula) => {
        const { nextSibling } = formula.parentElement;
        if (!/^[^\w\s]/.test((nextSibling && nextSibling.data) || "")) return false;
        const mark = document.createRange();
        mark.setStart(nextSibling, 0);
        mark.setEnd(nextSibling, 1);
        return mark.getBoundingClientRect().left < right(formula) - 1;
      })
      .map((formula) => label(formula.closest("p, li, dd, td, figcaption") || formula));

  /* Numbers whose sign or thousands may begin the next line: a space before them that can break.
     (What notebooks print is as it is.) */
  const divided = () =>
    all(":is(p, li, dd, figcaption):not(figure.drag *, .text_html *)", content())
      .filter((text) => [...text.childNodes].some(({ data }) => /\d (%|\d{3}(?!\d))|[α-ω] = [\d−∞½]/.test(data)))
      .map(label);

  /* ------------------------------------------------------------------------- colours */

  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);

  function ground(element) {
    for (let around = element; around; around = around.parentElement) {
      const colour = numbers(getComputedStyle(around).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  }

  /* The words of the pictures to drag, which axe does not see. */
  const words = () =>
    all("figure.drag svg text")
      .filter((text) => text.textContent.trim())
      .map((text) => ({
        text: brief(text.textContent),
        contrast: contrast(numbers(getComputedStyle(text).fill), ground(text)),
      }));

  /* An image as it is shown: its ground, the colour of most pixels of its upper edge, and the ink that
     stands out most from it.  A drawing without a size of its own is as large as on the page. */
  function shown(image) {
    const scale = Math.max(1, image.width / image.naturalWidth);
    const [wide, tall] = [image.naturalWidth, image.naturalHeight].map((n) => Math.ceil(n * scale));
    const canvas = Object.assign(document.createElement("canvas"), { width: wide, height: tall });
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    brush.filter = getComputedStyle(image).filter;
    brush.fillStyle = "white";
    brush.fillRect(0, 0, wide, tall);
    brush.drawImage(image, 0, 0, wide, tall);
    const commonest = (x, y, w, h) => {
      const { data } = brush.getImageData(x, y, w, h);
      const counts = new Map();
      for (let k = 0; k < data.length; k += 4) {
        const colour = (data[k] << 16) | (data[k + 1] << 8) | data[k + 2];
        counts.set(colour, (counts.get(colour) || 0) + 1);
      }
      return [...counts]
        .sort((a, b) => b[1] - a[1])
        .slice(0, 4096)
        .map(([colour]) => [colour >> 16, (colour >> 8) & 255, colour & 255]);
    };
    const [paper] = commonest(0, 0, wide, 1);
    const ink = Math.max(...commonest(0, 0, wide, tall).map((colour) => contrast(colour, paper)));
    return { source: image.getAttribute("src"), ground: luminance(paper), ink };
  }

  /* On paper: the text of a figure speaks of black and of darker, so it keeps its ground. */
  const figures = () =>
    all("img", content())
      .filter((image) => image.naturalWidth > 0)
      .map((image) => ({
        ...shown(image),
        paper: image.classList.contains("dark-light"),
        scale: image.closest(".cell_output") && image.width / image.naturalWidth,
      }));

  /* ------------------------------------------------------------------------- axe */

  /* Formulas, the insides of pictures and the twentieth keyword of a color tell axe nothing new,
     and cost most of its time: this empties the page of them. */
  function thinOut() {
    all("mjx-container").forEach((formula) => formula.replaceWith("x"));
    all("figure.drag svg").forEach((svg) => svg.replaceChildren());
    const seen = new Set();
    all("pre span").forEach((token) => {
      const kind = `${token.className} in ${token.closest("pre").parentElement.className}`;
      if (seen.has(kind)) token.replaceWith(token.textContent);
      seen.add(kind);
    });
  }

  async function axeFindings() {
    const found = await axe.run(document, {
      resultTypes: ["violations"],
      preload: false, // of style sheets from elsewhere and of films: there are none
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    });
    const serious = found.violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => ({
        rule: id,
        count: nodes.length,
        where: nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`),
      }));
    return { rules: found.passes.length + found.violations.length, serious };
  }

  /* ------------------------------------------------------------------------- to drag */

  const pictures = () => all("figure.drag");
  /* Where the sliders of a picture stand, the words that move in its sentences, all that it draws. */
  const says = (k) => ({
    stops: all("input", pictures()[k]).map((input) => Number(input.value)),
    words: all(".drag-say b", pictures()[k]).map((word) => word.textContent),
    drawing: pictures()[k].querySelector(".drag-panels").innerHTML,
  });
  const drags = () =>
    pictures().map((picture) => ({
      sliders: all("input", picture).map((input) => Number(input.max)),
      handles: all(".drag-handle[data-m]", picture).length,
    }));

  /* The picture as it was at first; one slider has the focus. */
  function focusSlider(k, j) {
    const inputs = all("input", pictures()[k]);
    inputs.forEach((input) => {
      input.value = input.defaultValue;
      input.dispatchEvent(new Event("input"));
    });
    inputs[j].focus();
  }

  /* The middle of a handle and the corners of its panel, in the window. */
  async function handlePlaces(k, j) {
    const handle = all(".drag-handle[data-m]", pictures()[k])[j];
    handle.scrollIntoView({ block: "center", behavior: "instant" });
    await settle(); // before that, a mouse would press where the handle was
    const dot = handle.lastElementChild.getBoundingClientRect();
    const box = handle.ownerSVGElement.getBoundingClientRect();
    return [
      [dot.x + dot.width / 2, dot.y + dot.height / 2],
      [box.left + 5, box.top + 5],
      [box.right - 5, box.bottom - 5],
      [box.left + 5, box.bottom - 5],
      [box.right - 5, box.top + 5],
    ];
  }

  return {
    ready, firstPaint, settle, mathematics, images, links, width, words, figures, thinOut,
    axeFindings, drags, says, focusSlider, handlePlaces,
  };
})();
