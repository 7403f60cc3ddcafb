"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Set();
  const narrow = () => window.innerWidth < 760;

  // --- light and dark ---------------------------------------------------------------------
  const wanted = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  let chosen = "";
  function setTheme(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    for (const plot of drawn) draw(plot);
  }
  const theme = () => chosen || (wanted.matches ? "dark" : "light");
  button.hidden = false;
  button.addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    setTheme(chosen);
  });
  wanted.addEventListener("change", () => setTheme(theme()));
  setTheme(theme());

  // --- tables -----------------------------------------------------------------------------
  const collator = new Intl.Collator(undefined, { numeric: true });
  function compare(a, b) {
    if (a === "" || b === "") return null; // what is not known stays last, either way
    const x = a === "inf" ? Infinity : Number(a), y = b === "inf" ? Infinity : Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x === y ? 0 : x - y;
  }
  for (const head of document.querySelectorAll("table.sortable th")) {
    head.querySelector("button").addEventListener("click", () => {
      const table = head.closest("table"), body = table.tBodies[0];
      const number = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const up = before ? before !== "ascending" : !number;
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const place = head.cellIndex;
      const rows = [...body.rows].map((row, i) => [row.cells[place].dataset.sort, i, row]);
      rows.sort((a, b) => {
        const order = compare(a[0], b[0]);
        if (order === null) return (a[0] === "") - (b[0] === "") || a[1] - b[1];
        return (up ? order : -order) || a[1] - b[1];
      });
      body.append(...rows.map((row) => row[2]));
    });
  }

  // --- charts -----------------------------------------------------------------------------
  let plotly = null;
  function unpack() {
    plotly ??= (async () => {
      const packed = atob(document.getElementById("plotly").textContent.trim());
      const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
      if (!window.Plotly) throw new Error("Plotly did not start");
    })();
    return plotly;
  }

  function tint(name) {
    const [, key, how, share] = name.match(/^@(\w+?)(?:([/~])([\d.]+))?$/);
    const value = getComputedStyle(root).getPropertyValue(`--${key}`).trim();
    if (!how) return value;
    const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    if (how === "/") return `rgba(${parts(value)}, ${share})`;
    const under = parts(tint("@surface")); // mixed, so that writing on it can be told from it
    return `rgb(${parts(value).map((v, i) => Math.round(v * share + under[i] * (1 - share)))})`;
  }
  function paint(value) {
    if (typeof value === "string") return /^@[a-z]\w*([/~][\d.]+)?$/.test(value) ? tint(value) : value;
    if (Array.isArray(value)) return value.map(paint);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v)]));
    }
    return value;
  }

  let printing = null; // on paper, the width of a plot

  function axis(given) {
    if (given.visible === false) return given;
    return {
      gridcolor: tint("@line"), linecolor: tint("@line"), zeroline: false, automargin: true,
      tickfont: { size: 11.5, color: tint("@muted") }, ticks: "outside", ticklen: 4,
      tickcolor: "rgba(0,0,0,0)", ...given,
      title: { font: { size: 12, color: tint("@muted") }, standoff: 10, ...given.title },
    };
  }

  function draw(plot) {
    const chart = charts[plot.dataset.chart];
    const figure = paint({ data: chart.data, layout: chart.layout });
    const zoom = plot.dataset.chart === "map" || plot.dataset.chart === "confusion" && chart.data[0].x.length > 12;
    const coarse = window.matchMedia("(pointer: coarse)").matches;
    const style = getComputedStyle(document.body);
    figure.data.forEach((trace, i) => { trace.visible = plot.hiddenTraces?.has(i) ? false : true; });
    const layout = {
      ...figure.layout,
      xaxis: axis(figure.layout.xaxis), yaxis: axis(figure.layout.yaxis),
      font: { family: style.fontFamily, size: 12, color: tint("@ink") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: narrow() ? 44 : 56, r: 24, t: 12, b: 44 },
      showlegend: false, height: chart.height, dragmode: coarse ? false : zoom ? "zoom" : false,
      hoverlabel: {
        bgcolor: tint("@surface"), bordercolor: tint("@line"), align: "left",
        font: { family: style.fontFamily, size: 12.5, color: tint("@ink") },
      },
      ...(printing ? { autosize: false, width: printing(plot) } : { autosize: true }),
      modebar: { bgcolor: "rgba(0,0,0,0)", color: tint("@muted"), activecolor: tint("@ink") },
    };
    const config = {
      responsive: true, displaylogo: false, displayModeBar: zoom ? "hover" : false,
      modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]], doubleClick: "reset",
    };
    window.Plotly.react(plot, figure.data, layout, config);
    if (!drawn.has(plot)) {
      drawn.add(plot);
      legend(plot, chart);
      if (chart.thumbnails.length) point(plot, chart);
    }
    plot.dataset.drawn = "";
  }

  function legend(plot, chart) {
    const box = plot.parentNode.querySelector(".legend");
    const entries = new Map();
    chart.data.forEach((trace, i) => {
      const key = trace.legendgroup ?? trace.name;
      if (key === undefined) return;
      if (!entries.has(key)) entries.set(key, { trace: null, all: [] });
      const entry = entries.get(key);
      entry.all.push(i);
      if (trace.showlegend !== false) entry.trace = trace;
    });
    const named = [...entries.values()].filter((entry) => entry.trace);
    if (named.length < 2) return;
    plot.hiddenTraces = new Set();
    for (const { trace, all } of named) {
      const item = document.createElement("button"), mark = document.createElement("span");
      item.type = "button";
      item.setAttribute("aria-pressed", "true");
      const lines = trace.mode?.includes("lines"), symbol = String(trace.marker?.symbol ?? "");
      const colour = trace.line?.color && lines ? trace.line.color : trace.marker?.color;
      mark.style.setProperty("--tint", `var(--${String(colour).slice(1).split("/")[0]})`);
      if (lines) mark.classList.add("line");
      if (lines && trace.line.dash && trace.line.dash !== "solid") mark.classList.add("dashed");
      if (trace.type === "bar" || symbol.startsWith("square")) mark.classList.add("square");
      if (symbol.startsWith("diamond")) mark.classList.add("diamond");
      if (symbol.endsWith("-open")) mark.classList.add("open");
      const name = document.createElement("template");
      name.innerHTML = trace.name; // escaped where it was made
      item.append(mark, name.content.textContent);
      item.addEventListener("click", () => {
        const shown = item.getAttribute("aria-pressed") === "true";
        item.setAttribute("aria-pressed", String(!shown));
        for (const i of all) shown ? plot.hiddenTraces.add(i) : plot.hiddenTraces.delete(i);
        draw(plot);
      });
      box.append(item);
    }
  }

  const pointed = document.getElementById("pointed");
  function point(plot, chart) {
    const show = (event) => {
      const [here] = event.points, [truth, said, number] = here.customdata ?? [];
      if (number === undefined) return;
      const image = pointed.querySelector("img"), text = document.createElement("template");
      if (chart.thumbnails[number]) image.src = chart.thumbnails[number];
      else image.removeAttribute("src");
      text.innerHTML = truth === said ? truth : `${truth}, predicted ${said}`;
      pointed.querySelector("p").textContent = text.content.textContent;
      pointed.hidden = false;
      const box = pointed.getBoundingClientRect(), { clientX: x, clientY: y } = event.event;
      pointed.style.left = `${Math.max(8, Math.min(x + 16, window.innerWidth - box.width - 8))}px`;
      pointed.style.top = `${Math.max(8, Math.min(y + 16, window.innerHeight - box.height - 8))}px`;
    };
    for (const trace of chart.data) trace.hoverinfo = "none", delete trace.hovertemplate;
    draw(plot);
    plot.on("plotly_hover", show);
    plot.on("plotly_click", show);
    plot.on("plotly_unhover", () => { pointed.hidden = true; });
    window.addEventListener("scroll", () => { pointed.hidden = true; }, { passive: true });
  }

  function fail(error) {
    for (const plot of document.querySelectorAll(".plot:not([data-drawn])")) {
      plot.classList.add("failed");
      plot.textContent = "Charts need a browser of 2023 or later. " + plot.getAttribute("aria-label");
    }
    for (const numbers of document.querySelectorAll("details.numbers")) numbers.open = true;
    console.warn(error);
  }
  const plots = [...document.querySelectorAll(".plot")];
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      unpack().then(() => draw(target)).catch(fail);
    }
  }, { rootMargin: "600px" });
  for (const plot of plots) near.observe(plot);

  // The rest when there is nothing else to do: then they are there to be printed, too.
  const idle = window.requestIdleCallback ?? ((next) => setTimeout(next, 200));
  function drawNext() {
    const plot = plots.find((one) => !drawn.has(one));
    if (plot) idle(() => unpack().then(() => { if (!drawn.has(plot)) draw(plot); drawNext(); }).catch(fail));
  }
  window.addEventListener("load", drawNext);

  // Paper is white, and narrower than most screens.
  window.addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.dataset.was = folded.open;
    for (const folded of document.querySelectorAll(".findings details, .fold")) folded.open = true;
    printing = (plot) => (plot.parentNode.classList.contains("half") ? 310 : 650);
    setTheme("light");
    if (window.Plotly) for (const plot of plots) if (!drawn.has(plot)) draw(plot);
  });
  window.addEventListener("afterprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = folded.dataset.was === "true";
    printing = null;
    setTheme(theme());
  });

  // --- where we are -----------------------------------------------------------------------
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const here = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of document.querySelectorAll("section")) here.observe(section);
})();
