// Light or dark like the Airflow UI around this page; by the system's wish when it stands alone.
"use strict";
(() => {
  const own = document.documentElement;
  function outer() {
    try {
      return window.parent !== window ? window.parent.document.documentElement : null;
    } catch {
      return null; // another site's frame: it is not ours to read
    }
  }
  const around = outer();
  function follow() {
    if (around && (around.classList.contains("dark") || around.classList.contains("light"))) {
      own.dataset.theme = around.classList.contains("dark") ? "dark" : "light";
    }
    window.dispatchEvent(new Event("themechange"));
  }
  follow();
  if (around) {
    new MutationObserver(follow).observe(around, { attributes: true, attributeFilter: ["class"] });
  }
})();
