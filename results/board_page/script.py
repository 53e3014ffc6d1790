"""The script of the page: filters, sorting, and the configuration or dataset that the address names."""

SCRIPT = """
"use strict";
const root = document.documentElement, table = document.getElementById("rows");
const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
const selects = [...document.querySelectorAll("select[data-key]")];
const boxes = [...document.querySelectorAll("input[data-mark]")];
const text = document.getElementById("text"), order = document.getElementById("order");
const state = () => { const kept = new URLSearchParams();
  for (const select of selects) if (select.value) kept.set(select.dataset.key, select.value);
  const hidden = boxes.filter(box => !box.checked).map(box => box.dataset.mark).join("");
  if (hidden) kept.set("without", hidden);
  if (text.value) kept.set("text", text.value);
  if (order.value) kept.set("order", order.value);
  return kept; };
const restore = kept => {
  for (const select of selects) { select.value = kept.get(select.dataset.key) || "";
    if (select.selectedIndex < 0) select.value = ""; }
  const hidden = kept.get("without") || "";
  for (const box of boxes) box.checked = !hidden.includes(box.dataset.mark);
  text.value = kept.get("text") || ""; order.value = kept.get("order") || "";
  if (order.selectedIndex < 0) order.value = ""; };
const compare = (one, other, place, sign) => {
  const a = one.cells[place].dataset.value, b = other.cells[place].dataset.value;
  if (a === "" || b === "") return (a === "") - (b === "");
  const x = Number(a), y = Number(b);
  return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y); };
const sorted = () => { const [place, kind] = order.value.split(" ");
  if (!order.value) return rows;
  const sign = kind === "down" ? -1 : 1;
  return [...rows].sort((one, other) => compare(one, other, Number(place), sign)); };
const apply = () => {
  const words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const without = boxes.filter(box => !box.checked).map(box => box.dataset.mark);
  let count = 0, board = null;
  const placed = sorted();
  table.tBodies[0].append(...placed);
  for (const row of placed) {
    const fits = selects.every(select => !select.value || row.dataset[select.dataset.key] === select.value)
      && !without.some(mark => row.dataset.marks.includes(mark))
      && words.every(word => row.textContent.toLowerCase().includes(word));
    row.hidden = !fits; count += fits;
    row.classList.toggle("first-of-board", fits && !order.value && row.dataset.board !== board);
    if (fits) board = row.dataset.board; }
  const [place, kind] = order.value.split(" ");
  heads.forEach((head, number) => { if (order.value && number === Number(place))
      head.setAttribute("aria-sort", kind === "down" ? "descending" : "ascending");
    else head.removeAttribute("aria-sort"); });
  document.getElementById("count").textContent = `${count} of ${rows.length} configurations shown`; };
const changed = () => { apply(); const kept = state().toString();
  history.replaceState(null, "", kept ? `#filter:${kept}` : "#board"); };
const show = () => {
  const name = decodeURIComponent(location.hash.slice(1));
  const detail = name ? document.getElementById(name) : null;
  const found = detail !== null && detail.tagName === "ARTICLE";
  for (const article of document.querySelectorAll("article"))
    article.classList.toggle("shown", article === detail);
  root.classList.toggle("of-detail", found);
  if (found) { detail.focus({ preventScroll: true }); document.title = detail.dataset.title;
    requestAnimationFrame(() => window.scrollTo(0, 0)); }
  else { document.title = root.dataset.title;
    if (name.startsWith("filter:")) { restore(new URLSearchParams(name.slice(7))); apply(); } } };
root.classList.add("js"); root.dataset.title = document.title;
heads.forEach((head, place) => { const button = head.querySelector("button");
  if (button) button.addEventListener("click", () => {
    const first = head.dataset.first, now = head.getAttribute("aria-sort");
    const down = now === null ? first === "down" : now === "ascending";
    order.value = `${place} ${down ? "down" : "up"}`; changed(); }); });
for (const input of [...selects, ...boxes, order]) input.addEventListener("change", changed);
text.addEventListener("input", changed);
document.getElementById("reset").addEventListener("click", () => {
  restore(new URLSearchParams()); changed(); });
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && root.classList.contains("of-detail")) location.hash = "board"; });
window.addEventListener("hashchange", show);
apply(); show();
"""
