"""The style sheet of the page: light and dark, wide tables on a desktop, one card a row on a phone."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --faint: #55606e; --line: #cdd3db; --soft: #f3f5f8;
  --ground: #fff; --blue: #1257b0; --mark: #8a4b00; --row: #eef4fc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --faint: #a5b0be; --line: #3a4350;
  --soft: #1d232b; --ground: #14181d; --blue: #8abaff; --mark: #f0b56b; --row: #202b39; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 86rem; padding: 1rem 1.25rem 4rem; color: var(--ink);
  background: var(--ground); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 1rem 0 .4rem; }
h2 { font-size: 1.25rem; margin: 1.6rem 0 .4rem; } h3 { font-size: 1.02rem; margin: 1.4rem 0 .3rem; }
a { color: var(--blue); } p { margin: .4rem 0; max-width: 56rem; } .faint { color: var(--faint); }
:focus-visible { outline: 3px solid var(--blue); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
.filters { display: flex; flex-wrap: wrap; gap: .6rem .9rem; align-items: end; margin: 1rem 0 .4rem; }
.filters label { display: grid; font-size: 13px; color: var(--faint); }
select, input[type=search], button { font: inherit; color: var(--ink); background: var(--ground);
  border: 1px solid var(--line); border-radius: 6px; padding: .3rem .5rem; min-height: 2.3rem; }
fieldset { border: 1px solid var(--line); border-radius: 6px; margin: .6rem 0; }
fieldset label { display: block; padding: .15rem 0; } summary { cursor: pointer; padding: .3rem 0; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); font-size: 13px; padding: .4rem .45rem; }
#rows caption span { display: inline-block; position: sticky; left: .45rem;
  max-width: min(56rem, calc(100vw - 4.5rem)); }
th, td { padding: .38rem .45rem; border-bottom: 1px solid var(--line); text-align: right;
  overflow-wrap: normal; }
th { background: var(--soft); vertical-align: bottom; } .text { text-align: left; }
tbody th { background: none; font-weight: 400; text-align: left; vertical-align: middle; }
article td { white-space: nowrap; } article td.text { white-space: normal; min-width: 11rem; }
tbody tr:last-child > * { border-bottom: 0; } tbody tr:hover { background: var(--row); }
th button { border: 0; background: none; padding: 0; min-height: 0; font-weight: 600; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
tr.first-of-board > * { border-top: 2px solid var(--faint); }
.marks { color: var(--mark); letter-spacing: .12em; white-space: nowrap; }
.number { white-space: nowrap; } .best { font-weight: 700; }
#rows th a, #rows .text { white-space: nowrap; }
#rows td.long { white-space: normal; }
article:focus { outline: none; } td.drawing { text-align: left; }
.drawn { vertical-align: middle; } .axis { stroke: var(--line); fill: none; }
.scan { fill: var(--faint); fill-opacity: .45; }
.interval { stroke: var(--blue); stroke-width: 2.4; fill: none; }
.mean { stroke: var(--blue); stroke-width: 2.4; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem .9rem;
  font-size: 14px; }
dt { color: var(--faint); } dd { margin: 0; }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; border-radius: 6px; font-size: 13px; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; background: #fff; }
figcaption { font-size: 13px; color: var(--faint); } article { scroll-margin-top: 1rem; }
.js article { display: none; } .js article.shown { display: block; }
.js.of-detail #board, .js.of-detail header { display: none; }
[hidden] { display: none !important; }
@media (max-width: 46rem) {
  body { padding: .6rem .75rem 3rem; } h1 { font-size: 1.25rem; }
  .filters { display: grid; grid-template-columns: 1fr 1fr; } .filters .full { grid-column: 1 / -1; }
  select, input[type=search] { width: 100%; }
  #rows, #rows tbody { display: block; } #rows caption { display: block; }
  #rows thead { position: absolute; left: -99rem; }
  #rows tbody tr { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem .8rem; padding: .6rem .7rem;
    border-bottom: 1px solid var(--line); }
  #rows tr.first-of-board > * { border-top: 0; }
  #rows tr.first-of-board { border-top: 2px solid var(--faint); }
  #rows tbody tr > * { display: block; border: 0; padding: .1rem 0; text-align: left; }
  #rows tbody th { grid-column: 1 / -1; font-size: 1.05rem; font-weight: 600; }
  #rows td[data-label]::before { content: attr(data-label) " "; color: var(--faint); font-size: 12px; }
  #rows td.drawing { grid-column: 1 / -1; }
  #rows th small { font-weight: 400; } figure { overflow-x: auto; }
  figure img { max-width: none; width: 40rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
}
@media print { .filters, .skip, .marks-filter { display: none; } .js article { display: block; } }
"""
