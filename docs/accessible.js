// What the theme leaves out: the buttons of a code block and the lists of a table of contents are no landmarks, and a
// table or a block of code that scrolls can be reached by key.
const mend = () => {
  for (const nav of document.querySelectorAll("nav.md-code__nav, nav nav[aria-label]:not([aria-expanded])")) {
    nav.removeAttribute("aria-label");
    nav.setAttribute("role", "presentation");
  }
  for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code"))
    if (wrap.scrollWidth > wrap.clientWidth) wrap.tabIndex = 0;
};
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
addEventListener("resize", mend);
mend();
