"""How the page of the backward pass looks, and the script that turns its strip into steps."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1f24; --quiet: #5b646e; --edge: #c9d0d8;
  --key: #0067a3; --panel: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15191e; --text: #e8ebee; --quiet: #a3adb8; --edge: #3a434d; --key: #6cc0f0;
    --panel: #20262d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0.5rem; max-width: 76rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.4rem; line-height: 1.2; margin: 0 0 0.4rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 0.5rem; }
p { margin: 0 0 0.7rem; }
sub, sup { font-size: 0.75em; line-height: 0; }
.quiet, .count { color: var(--quiet); }
.count { display: block; font-size: 0.9rem; font-weight: 400; }
.formula { font-size: 1.1rem; }
.example { padding: 0.5rem 0.7rem; border-left: 3px solid var(--key); background: var(--panel);
  font-variant-numeric: tabular-nums; }
.steps { list-style: none; margin: 0; padding: 0; }
.step { padding: 1rem 0; border-top: 1px solid var(--edge); }
.scroll { overflow-x: auto; }
figure { margin: 0; }
svg { display: block; margin: 0 auto; }
.controls { position: sticky; bottom: 0; display: flex; flex-wrap: wrap; gap: 0.5rem;
  align-items: center; justify-content: center; padding: 0.6rem 0; background: var(--page);
  border-top: 1px solid var(--edge); }
.controls[hidden] { display: none; }
.controls p { margin: 0; flex: 1 0 100%; text-align: center; }
button { padding: 0 0.7rem; min-width: 4rem; min-height: 2.75rem; font: inherit; color: var(--text);
  background: var(--panel); border: 1px solid var(--quiet); border-radius: 0.4rem;
  cursor: pointer; }
button:disabled { opacity: 0.45; cursor: default; }
:focus-visible { outline: 3px solid var(--key); outline-offset: 2px; }
@media (min-width: 62rem) {
  body { padding: 1rem; }
  .controls p { flex: 0 0 16rem; }
  .step { display: grid; grid-template-columns: minmax(16rem, 24rem) minmax(0, 1fr); gap: 1.5rem; }
}
@media screen {
  .js .step:not(.now) { display: none; }
}
@media screen and (prefers-reduced-motion: no-preference) {
  .js .now .fresh { animation: appear 0.5s ease-out; }
  @keyframes appear { from { opacity: 0; } }
}
@media print {
  :root { color-scheme: light; }
  .controls { display: none; }
  .step { display: block; break-inside: avoid; }
}
"""

SCRIPT = """
const steps = [...document.querySelectorAll(".step")];
const controls = document.querySelector(".controls");
const [first, back, on, last] = controls.querySelectorAll("button");
const status = controls.querySelector("p");
let now = 0;
function show(number) {
  now = Math.max(0, Math.min(steps.length - 1, number));
  steps.forEach((step, i) => step.classList.toggle("now", i === now));
  status.innerHTML = steps[now].querySelector("h2").innerHTML;
  first.disabled = back.disabled = now === 0;
  last.disabled = on.disabled = now === steps.length - 1;
}
first.addEventListener("click", () => show(0));
back.addEventListener("click", () => show(now - 1));
on.addEventListener("click", () => show(now + 1));
last.addEventListener("click", () => show(steps.length - 1));
document.addEventListener("keydown", event => {
  const box = event.target.closest(".scroll");
  const scrolls = box && box.scrollWidth > box.clientWidth;
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || scrolls) return;
  const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: steps.length - 1 };
  if (!(event.key in to)) return;
  event.preventDefault();
  show(to[event.key]);
});
document.documentElement.classList.add("js");
controls.hidden = false;
const asked = location.hash.match(/^#step-([0-9]+)$/);
show(asked ? asked[1] - 1 : 0);
"""
