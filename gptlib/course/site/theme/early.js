// Before the page is drawn: that scripts run, and the theme that was chosen.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("gptlib.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* a browser may keep nothing */ }
