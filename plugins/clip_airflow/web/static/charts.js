// Draws each canvas from the figures in its data-values; the tables beside them say the same.
"use strict";
(() => {
  const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5"];
  const drawn = [];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function axis(title, more) {
    return {
      title: { display: Boolean(title), text: title, color: colour("--text") },
      ticks: { color: colour("--text") },
      grid: { color: colour("--line") },
      ...more,
    };
  }

  const kinds = {
    timeline: (figures) => ({
      data: {
        labels: figures.days,
        datasets: [
          { type: "bar", order: 1, label: "pairs/s", data: figures.rates, backgroundColor: colour("--c1"), yAxisID: "y" },
          { type: "line", label: "rejected %", data: figures.rejected, borderColor: colour("--c2"),
            backgroundColor: colour("--c2"), spanGaps: true, pointRadius: 4, yAxisID: "rejected" },
        ],
      },
      scales: {
        x: axis(""),
        y: axis("pairs/s", { beginAtZero: true }),
        rejected: axis("rejected %", { beginAtZero: true, position: "right", grid: { drawOnChartArea: false } }),
      },
    }),
    distribution: (figures) => ({
      data: {
        labels: figures.starts,
        datasets: [
          { type: "bar", order: 1, label: "this run", data: figures.now, backgroundColor: colour("--c1"), categoryPercentage: 1, barPercentage: 0.95 },
          { type: "line", label: "runs before", data: figures.before, borderColor: colour("--c2"),
            backgroundColor: colour("--c2"), stepped: "middle", pointRadius: 0 },
        ].filter(({ data }) => data.some((share) => share !== null)),
      },
      scales: { x: axis("similarity"), y: axis("% of the pairs", { beginAtZero: true }) },
    }),
    stages: (figures) => ({
      data: {
        labels: [""],
        datasets: figures.names.map((name, place) => ({
          type: "bar", label: name, data: [figures.seconds[place]], backgroundColor: colour(COLOURS[place]),
        })),
      },
      indexAxis: "y",
      scales: { x: axis("seconds", { stacked: true }), y: axis("", { stacked: true }) },
    }),
  };

  function draw() {
    for (const old of drawn.splice(0)) old.destroy();
    for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
      const { data, scales, indexAxis } = kinds[canvas.dataset.chart](JSON.parse(canvas.dataset.values));
      drawn.push(new Chart(canvas, {
        data,
        options: {
          animation: false,
          maintainAspectRatio: false,
          indexAxis: indexAxis || "x",
          interaction: { mode: "index", intersect: false },
          plugins: { legend: { labels: { color: colour("--text") } } },
          scales,
        },
      }));
    }
    document.documentElement.dataset.drawn = drawn.length;
  }

  draw();
  window.addEventListener("themechange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
