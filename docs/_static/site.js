// Make what scrolls sideways reachable by keyboard, and nothing else: each stop of the Tab key costs its user a key.
(() => {
  const mark = () => {
    for (const box of document.querySelectorAll(".table-wrapper, .highlight pre, .graphviz")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("load", mark);
  addEventListener("resize", mark);
})();
