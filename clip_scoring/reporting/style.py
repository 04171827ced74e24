"""The one style sheet of the report: light, dark and on paper."""

from __future__ import annotations

from clip_scoring.reporting.palette import DARK, LIGHT, Palette

_RULES = """
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--back); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
}
header, main, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
header p { margin: 0; color: var(--faint); }
h1 { font-size: 2rem; line-height: 1.2; margin: 2px 0 0; }
h2 { font-size: 1.3rem; margin: 0 0 4px; }
section { margin-top: 44px; }
p { margin: 0 0 12px; max-width: 75ch; }
.note { color: var(--faint); }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
}
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 28px 0 0;
}
.tiles > div { padding: 14px 18px; }
.tiles dt { color: var(--faint); font-size: .875rem; }
.tiles dd {
  margin: 0; font-size: 1.6rem; line-height: 1.3; font-weight: 650;
}
.sheet {
  display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 20px;
  align-items: start; margin-top: 12px;
}
.sheet > div { display: grid; gap: 20px; min-width: 0; }
figure { margin: 0; }
.plot img { display: block; width: 100%; height: auto; }
.dark { display: none !important; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
caption { text-align: left; padding: 12px 14px; font-weight: 650; }
caption span { display: block; font-weight: 400; font-size: .875rem; color: var(--faint); }
th, td {
  text-align: left; padding: 6px 14px; border-top: 1px solid var(--line); vertical-align: top;
  font-weight: 400;
}
tbody th { min-width: 8.5rem; }
bdi { overflow-wrap: anywhere; }
thead th.n { white-space: normal; }
thead th { color: var(--faint); font-size: .875rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts { margin-top: 16px; }
.below { margin-top: 20px; }
.facts th { width: 14rem; color: var(--faint); }
.pairs {
  list-style: none; margin: 12px 0 0; padding: 0; display: grid;
  grid-template-columns: repeat(auto-fill, minmax(168px, 1fr)); gap: 14px;
}
.pairs li { break-inside: avoid; }
.pairs img, .nothing {
  display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--back);
}
.nothing { display: grid; place-items: center; color: var(--faint); font-size: .875rem; }
.told { padding: 10px 12px 12px; font-size: .875rem; line-height: 1.4; overflow: hidden; }
.told p { margin: 0; }
.score { display: flex; justify-content: space-between; align-items: baseline; gap: 8px; }
.score strong { flex: none; font-size: 1.125rem; font-variant-numeric: tabular-nums; }
.score span, .address { color: var(--faint); font-size: .75rem; }
.score span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.told p.said { max-height: 11.2em; overflow-y: auto; margin-top: 2px; }
.told p.address { margin-top: 6px; }
footer {
  margin-top: 56px; padding-top: 16px; padding-bottom: 48px; color: var(--faint);
  font-size: .875rem;
}
@media (max-width: 820px) {
  .sheet { grid-template-columns: minmax(0, 1fr); }
  header, main, footer { padding-left: 16px; padding-right: 16px; }
  .facts th { width: auto; }
  tbody th { min-width: 6rem; }
}
@media screen and (prefers-color-scheme: dark) {
  .light { display: none !important; }
  .dark { display: block !important; }
}
@media print {
  html { font-size: 70%; }
  body { background: none; }
  header { padding-top: 0; }
  section { margin-top: 24px; }
  h2 { break-after: avoid; }
  .card, figure, tr { break-inside: avoid; }
  .pairs { grid-template-columns: repeat(6, 1fr); gap: 8px; }
  .sheet { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(100px, 1fr)); }
  .tiles dd { font-size: 1.2rem; }
  .told p.said { max-height: none; }
  .score { flex-wrap: wrap; }
  @page { margin: 14mm; }
}
"""


def _colours(palette: Palette, scheme: str) -> str:
    named = {
        "back": palette.back,
        "card": palette.card,
        "text": palette.text,
        "faint": palette.faint,
        "line": palette.line,
    }
    colours = " ".join(f"--{name}: {colour};" for name, colour in named.items())
    return f":root {{ color-scheme: {scheme}; {colours} }}"


STYLE = (
    f"\n{_colours(LIGHT, 'light')}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ {_colours(DARK, 'dark')} }}"
    f"{_RULES}"
)
