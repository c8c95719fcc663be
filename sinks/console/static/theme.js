// Dark or light before the first paint: the choice made here, else the system's. Loaded without `defer` on purpose.
(function () {
  "use strict";
  var kept = null;
  try { kept = localStorage.getItem("strata-theme"); } catch (e) { /* no storage: the system's choice */ }
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
})();
