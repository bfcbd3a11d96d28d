"""The page's style sheet: light and dark, for a phone, a desk and paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --soft: #57606a; --paper: #ffffff; --card: #f6f8fa; --line: #d0d7de;
  --link: #0062a3; --grid: #8a939d; --shadow: #0000002e;
  --c1: #0072b2; --c2: #d55e00; --c3: #009e73; --c4: #b8578f; --c5: #c98a00; --c6: #3f9fd6;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ed; --soft: #a3adb8; --paper: #14171b; --card: #1d2228; --line: #343b44;
    --link: #6cb8f0; --grid: #7d8792; --shadow: #000000a0;
    --c1: #3f9ae0; --c2: #f07f2e; --c3: #25bd92; --c4: #dd8fbd; --c5: #e9b13b; --c6: #86ccf5;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 66rem; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",
    "DejaVu Sans", Arial, sans-serif;
  overflow-wrap: break-word;
}
h1 { font-size: clamp(1.6rem, 5vw, 2.2rem); line-height: 1.2; margin: 0 0 .3rem; }
h2 {
  font-size: 1.35rem; line-height: 1.3; margin: 2.75rem 0 .5rem; padding-top: 1.25rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
p { margin: .5rem 0 1rem; max-width: 46rem; }
header > p, .note, figcaption { color: var(--soft); }
.note, figcaption { font-size: .875rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin: 1rem 0 0; padding: 0; }
nav li { list-style: none; }
nav a { display: inline-block; padding: .2rem 0; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0;
}
.tile {
  display: flex; flex-direction: column; gap: .15rem; padding: .8rem .9rem;
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
}
.tile dd {
  margin: 0; font-size: clamp(1.15rem, 5vw, 1.45rem); font-weight: 650; line-height: 1.2;
  font-variant-numeric: tabular-nums; white-space: nowrap;
}
.tile dt { color: var(--soft); font-size: .875rem; line-height: 1.35; }
.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 29rem));
  gap: 1.5rem 2rem; align-items: start; margin: 1rem 0;
}
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; overflow: visible; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff; }
figure.broad { grid-column: 1 / -1; max-width: 46rem; }
figcaption { margin-top: .5rem; line-height: 1.4; }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: 1rem;
  margin: 1rem 0;
}
.pictures img, .map img {
  width: 6rem; height: auto; border: 1px solid var(--line); image-rendering: pixelated;
}
.map img { width: min(100%, 18rem); }
.scroll {  /* a shadow at the edge beyond which there is more */
  overflow-x: auto; max-width: 100%; margin: 1rem 0;
  background:
    linear-gradient(to right, var(--paper) 30%, transparent) local,
    linear-gradient(to left, var(--paper) 30%, transparent) 100% 0 local,
    linear-gradient(to right, var(--shadow), transparent) scroll,
    linear-gradient(to left, var(--shadow), transparent) 100% 0 scroll;
  background-repeat: no-repeat;
  background-size: 3rem 100%, 3rem 100%, .9rem 100%, .9rem 100%;
}
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td {
  padding: .35rem .8rem .35rem 0; text-align: left; vertical-align: top; font-weight: 400;
  border-bottom: 1px solid var(--line);
}
thead th {
  color: var(--soft); font-size: .82rem; line-height: 1.3; vertical-align: bottom;
  overflow-wrap: normal;
}
tbody th { font-weight: 600; min-width: 3rem; }
.wide { min-width: 8rem; }
.figures > div { min-width: 0; }
.figures > div > :first-child { margin-top: 0; }
.whole, td.n, tbody th.n { white-space: nowrap; }
.n { text-align: right; }
th:last-child, td:last-child { padding-right: 0; }
.facts th { color: var(--soft); font-weight: 400; padding-right: 1.5rem; }
.facts td { overflow-wrap: anywhere; min-width: 9rem; }
@media (max-width: 30rem) {
  table { font-size: .84rem; }
  thead th { font-size: .78rem; }
  th, td { padding-right: .6rem; }
}
pre {
  padding: .8rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; font-size: .85rem; line-height: 1.5;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media print {
  @page { margin: 16mm 14mm; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  h2, h3, h2 + p { break-after: avoid; }
  .tile dd { font-size: 1.15rem; }
  figure, tr, .tile, .pictures > * { break-inside: avoid; }
  .figures { grid-template-columns: 1fr 1fr; gap: 8mm; }
  figure.broad svg { min-width: 0 !important; }
  .scroll { overflow: visible; background: none; }
  table { font-size: 8.5pt; }
  .tile, pre { background: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
